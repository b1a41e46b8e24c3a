"""Power-law noise: the slope of its spectrum, its covariance against an FFT, coverage, errors."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from scipy.stats import chi2

from maskmim.mask_tools.statistics import (
    coverage,
    coverage_chi_square,
    mean_component_size,
    visible_map,
)
from maskmim.masks import power_law
from maskmim.masks.core import split_counts
from maskmim.types import Randomness
from tests.masks.sampling import context_of
from tests.tolerances import SIGNIFICANCE

pytestmark = pytest.mark.full

draw_noise = jax.jit(power_law.noise)  # Waves are arguments: one compilation for each grid.


def fields(grid, exponent, count, scale=1.0):
    waves = power_law.waves_of(grid, exponent, scale)
    keys = Randomness.of(jax.random.key(7), count).each("mask")
    return np.asarray(draw_noise(keys, waves), np.float64)


@functools.cache
def shown(grid, count, exponent=1.0, scale=1.0):
    """Mark the strongest quarter of standardised fields.

    `test_samplers_keep_the_strongest_tokens` compares the samplers with these maps.
    """
    values = fields(grid, exponent, count, scale).reshape(count, -1)
    deviation = power_law.deviation(power_law.waves_of(grid, exponent, scale)).reshape(-1)
    standardised = (values - values.mean(1, keepdims=True)) / deviation
    return strongest(
        standardised.astype(np.float32), split_counts(standardised.shape[1], 0.75)[0]
    ).reshape(-1, *grid)


def strongest(scores, visible):
    places = np.argpartition(-scores, visible - 1, axis=1)[:, :visible]
    return visible_map(places, scores.shape[1:])


def frequencies(grid, scale):
    axes = [each * np.fft.fftfreq(size) for each, size in zip(scale, grid, strict=True)]
    return np.sqrt(sum(each**2 for each in np.meshgrid(*axes, indexing="ij")))


def slope(fields):
    """Fit the exponent of the spectrum of fields over the frequencies in its middle."""
    grid = fields.shape[1:]
    tapers = [np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2 for size in grid]
    window = functools.reduce(np.multiply.outer, tapers)
    power = (abs(np.fft.fftn(fields * window, axes=range(1, fields.ndim))) ** 2).mean(0)
    frequency = frequencies(grid, (1.0,) * len(grid))
    middle = (frequency >= 3 / max(grid)) & (frequency <= 0.45)
    return np.polyfit(np.log(frequency[middle]), np.log(power[middle]), 1)[0]


@pytest.mark.parametrize("exponent", [-2.0, -1.0, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("grid, count", [((256,), 200), ((48, 48), 60), ((24, 24, 24), 24)])
def test_power_falls_with_the_exponent(grid, count, exponent):
    assert slope(fields(grid, exponent, count)) == pytest.approx(-exponent, abs=0.1)


def covariance_by_fft(grid, exponent, scale):
    """Return the covariance [N, N] of the tokens: the power law's transform on the torus."""
    torus = tuple(2 * size if size > 1 else 1 for size in grid)
    frequency = frequencies(torus, scale)
    frequency.flat[0] = 1.0
    power = frequency**-exponent
    power.flat[0] = 0.0
    by_lag = np.fft.ifftn(power).real
    places = np.indices(grid).reshape(len(grid), -1)
    lags = places[:, :, None] - places[:, None]
    return by_lag[tuple(lag % size for lag, size in zip(lags, torus, strict=True))]


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 1.0, 2.0])
@pytest.mark.parametrize(
    "grid, scale",
    [((9,), (1.0,)), ((4, 5), (2.0, 1.0)), ((2, 3, 4), (3.0, 1.0, 0.5)), ((1, 7),) * 2],
)
def test_waves_have_the_covariance_and_the_deviation_of_an_fft(grid, scale, exponent):
    waves = power_law.waves_of(grid, exponent, scale)
    waves_by_token = functools.reduce(np.kron, waves.bases) * waves.gain.reshape(-1)
    expected = covariance_by_fft(grid, exponent, scale)
    np.testing.assert_allclose(
        waves_by_token @ waves_by_token.T, expected, rtol=0, atol=1e-9 * expected.max()
    )
    centre = np.eye(len(expected)) - 1 / len(expected)
    about_mean = np.diag(centre @ expected @ centre).reshape(grid)
    np.testing.assert_allclose(power_law.deviation(waves) ** 2, about_mean, rtol=1e-9)


def test_fields_have_the_covariance_of_their_waves():
    grid, exponent = (3, 5), 1.5
    values = fields(grid, exponent, 20000).reshape(-1, 15)
    expected = covariance_by_fft(grid, exponent, (1.0, 1.0))
    error = np.sqrt((expected**2 + expected[0, 0] ** 2) / 20000)
    assert (abs(np.cov(values, rowvar=False) - expected) < 5 * error).all()


@pytest.mark.parametrize(
    "grid, exponent",
    [
        ((8, 8), 1.0),
        ((8, 8), 2.0),
        ((8, 8), -1.0),
        ((40,), 1.0),
        ((3, 4, 5), 1.0),
        ((3, 4, 5), 2.0),
    ],
)
def test_every_token_is_visible_equally_often(grid, exponent):
    statistic, degrees = coverage_chi_square(shown(grid, 6000, exponent=exponent))
    assert degrees == np.prod(grid) - 1
    assert chi2.sf(statistic, degrees) > SIGNIFICANCE, statistic


def test_brown_noise_in_a_row_is_nearly_even():
    seen = coverage(shown((40,), 10000, exponent=2.0))
    assert seen.min() > 0.23 and seen.max() < 0.27


def test_unstandardised_noise_shows_the_rim_too_often():
    rows = fields((40,), 2.0, 4000)
    ranked = strongest(rows, 10)
    statistic, degrees = coverage_chi_square(ranked)
    assert chi2.sf(statistic, degrees) < 1e-6
    assert coverage(ranked)[[0, -1]].mean() > 0.28


def test_opposite_borders_are_not_neighbours():
    noise = fields((14, 14), 1.0, 3000)
    noise = noise - noise.mean((1, 2), keepdims=True)
    left, beside, right = noise[:, :, 0], noise[:, :, 1], noise[:, :, -1]
    assert (left * beside).mean() / noise.var() > 0.25
    assert (left * right).mean() / noise.var() < 0.05


def test_groups_shrink_as_the_exponent_falls():
    sizes = [
        mean_component_size(shown((14, 14), 500, exponent=exponent)).mean()
        for exponent in (2.0, 1.0, 0.0, -1.0, -2.0)
    ]
    assert (np.diff(sizes) < -0.1).all(), sizes
    assert sizes[2] == pytest.approx(1.83, abs=0.06)


def test_scale_makes_structures_longer_along_an_axis():
    clips = shown((6, 8, 8), 400, scale=(3.0, 1.0, 1.0))
    later = (clips[:, 1:] & clips[:, :-1]).mean()
    below = (clips[:, :, 1:] & clips[:, :, :-1]).mean()
    assert later > below + 0.02
    even = shown((6, 8, 8), 400)
    np.testing.assert_array_equal(even, shown((6, 8, 8), 400, scale=2.0))


def test_samplers_keep_the_strongest_tokens():
    randomness, context = Randomness.of(jax.random.key(7), 50), context_of((8, 8))

    def all_three(randomness):
        named = [sampler(randomness, context, ratio=0.75) for sampler in samplers]
        return *named, power_law.power_law(randomness, context, ratio=0.75, exponent=-0.5)

    samplers = (power_law.pink, power_law.brown)
    masks = jax.jit(all_three)(randomness)
    for mask, exponent in zip(masks, (1.0, 2.0, -0.5), strict=True):
        visible = visible_map(np.asarray(mask.visible), (8, 8))
        np.testing.assert_array_equal(visible, shown((8, 8), 50, exponent=exponent))


def test_an_axis_of_one_token_does_not_count():
    flat = shown((40,), 50, exponent=2.0)
    np.testing.assert_array_equal(shown((1, 40), 50, exponent=2.0)[:, 0], flat)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), (1.0, 1.0, 1.0)])
def test_impossible_scales_are_errors(scale):
    with pytest.raises(ValueError, match="one positive number, or one for each axis"):
        power_law.waves_of((4, 4), 1.0, scale)


@pytest.mark.parametrize("exponent", [float("nan"), float("inf"), -float("inf"), 500.0])
def test_impossible_exponents_are_errors(exponent):
    with pytest.raises(ValueError, match="exponent"):
        power_law.waves_of((30,), exponent)
