"""The shapes of colour-noise masks: spectra, sizes of groups, coverage, white against random."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.stats import chi2

from maskmim.mask_tools.spectrum import spectrum, transfer
from maskmim.mask_tools.statistics import (
    coverage,
    coverage_chi_square,
    mean_component_size,
    pairwise_overlap,
    radial_power,
)
from maskmim.masks.colour import filter_of, red_filter
from maskmim.masks.gaussian import filtered_noise
from tests.masks.sampling import COLOURS, maps
from tests.tolerances import SIGNIFICANCE

GRID = (14, 14)
COUNT = 8000


@pytest.mark.proves(1, "mean visible component size: red > green > white > purple > blue")
def test_order_of_mean_component_sizes():
    names = ("red", "green", "white", "purple", "blue")
    sizes = [mean_component_size(maps(name, GRID, COUNT)[:2000]) for name in names]
    means = [size.mean() for size in sizes]
    errors = [size.std() / 2000**0.5 for size in sizes]
    for place in range(4):
        apart = means[place] - means[place + 1]
        assert apart > 5 * np.hypot(errors[place], errors[place + 1]), (means, errors)
    assert means[2] == pytest.approx(1.83, abs=0.03)


@pytest.mark.proves(1, "every token is visible equally often")
@pytest.mark.parametrize("name", sorted(COLOURS))
def test_every_token_is_visible_equally_often(name):
    statistic, degrees = coverage_chi_square(maps(name, GRID, COUNT))
    assert degrees == 195
    assert chi2.sf(statistic, degrees) > SIGNIFICANCE, statistic


def test_unstandardised_noise_shows_the_rim_too_often():
    keys = jax.random.split(jax.random.key(1), COUNT)
    field = np.asarray(jax.jit(lambda keys: filtered_noise(keys, GRID, red_filter()))(keys))
    flat = field.reshape(COUNT, -1)
    shown = (flat >= np.sort(flat, axis=1)[:, -49, None]).reshape(field.shape)
    statistic, degrees = coverage_chi_square(shown)
    assert chi2.sf(statistic, degrees) < 1e-6
    seen = coverage(shown)
    assert seen[::13, ::13].mean() > 0.26 and seen[6:8, 6:8].mean() < 0.24


@pytest.mark.proves(1, "white noise masks have the distribution of random masks")
def test_white_has_the_distribution_of_random_masks():
    white, random = (maps(name, GRID, COUNT) for name in ("white", "random"))
    for shown in (white, random):
        statistic, degrees = coverage_chi_square(shown)
        assert chi2.sf(statistic, degrees) > SIGNIFICANCE
    sizes = [mean_component_size(shown[:4000]) for shown in (white, random)]
    error = np.hypot(*(size.std() / 4000**0.5 for size in sizes))
    assert abs(sizes[0].mean() - sizes[1].mean()) < 4 * error
    assert pairwise_overlap(white) == pytest.approx(0.25, abs=2e-3)
    # Any two tokens are visible together with probability 49 * 48 / (196 * 195).
    together = 49 * 48 / (196 * 195)
    flat = white.reshape(len(white), -1).astype(np.float64)
    pairs = (flat.T @ flat / len(flat))[np.triu_indices(196, 1)]
    error = (together * (1 - together) / len(flat)) ** 0.5
    assert abs(pairs - together).max() < 5.5 * error
    assert pairs.std() == pytest.approx(error, rel=0.1)


def check_shape(name, frequency, power):
    low, middle = power[frequency < 0.06].mean(), power[abs(frequency - 0.13) < 0.04].mean()
    high = power[frequency > 0.4].mean()
    shapes = {
        "red": low > 2 * middle and middle > 2 * high,
        "green": middle > 2 * low and middle > 2 * high,
        "blue": high > 2 * middle and middle > 2 * low,
        "purple": low > 1.5 * middle and high > 1.5 * middle,
        "white": max(low, middle, high) < 1.2 * min(low, middle, high),
    }
    assert shapes[name], (low, middle, high)


@pytest.mark.proves(1, "spectra are low-, band-, high-pass and band-stop")
@pytest.mark.parametrize("name", sorted(COLOURS))
def test_noise_has_the_spectrum_of_its_colour(name):
    noise = spectrum(name, rings=24, count=300, seed=1)
    check_shape(name, noise.frequency, noise.analytic)
    check_shape(name, noise.frequency, noise.measured)
    scale = noise.analytic.max()
    np.testing.assert_allclose(noise.measured / scale, noise.analytic / scale, atol=0.12)


@pytest.mark.parametrize("name", sorted(COLOURS))
def test_masks_keep_the_spectrum_of_their_noise(name):
    # Cutting at a threshold adds a floor of noise, but the largest power stays where it was.
    frequency, power = radial_power(maps(name, (28, 28), 400), rings=7)
    if name == "white":
        assert power.max() < 1.1 * power.min()
    else:
        noise = spectrum(name, grid=(28, 28), rings=7, count=2)
        np.testing.assert_array_equal(noise.frequency, frequency)
        assert np.corrcoef(power, noise.analytic)[0, 1] > 0.8


def test_the_gain_at_zero_frequency():
    gains = {name: float(transfer(np.zeros(2), filter_of(name))) for name in COLOURS}
    expected = {"red": 1, "green": 0, "blue": 0, "purple": 1, "white": 1}
    assert gains == pytest.approx(expected)


@pytest.mark.parametrize("name", ["red", "purple"])
def test_masks_work_beyond_images(name):
    clip = maps(name, (4, 6, 5), 800)
    assert clip.shape == (800, 4, 6, 5)
    np.testing.assert_allclose(coverage(clip), 0.25, atol=0.08)
    series = maps(name, (50,), 2000, ratio=0.5)
    together = (series[:, 1:] & series[:, :-1]).mean()
    alone = 0.5 * 24 / 49
    assert (together > alone + 0.05) if name == "red" else (together < alone)
