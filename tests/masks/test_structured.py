"""Green3D: filters against scipy, spectrum, lifetime of visible tokens, coverage."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from scipy.stats import chi2

from maskmim.mask_tools.statistics import coverage_chi_square, visible_map
from maskmim.masks import gaussian, structured
from maskmim.masks.core import split_counts
from maskmim.types import Randomness
from tests.masks.sampling import context_of, draw
from tests.tolerances import SIGNIFICANCE

pytestmark = pytest.mark.full

GRID = (8, 14, 14)
SLOW = (("time_narrow", (1.5, 2.0)), ("time_wide", (2.5, 4.0)))
RANGES = (structured.NARROW, structured.WIDE) * 2


@functools.cache
def scores(grid=GRID, count=64, options=()):
    def draw_scores(randomness):
        return structured.green3d_scores(randomness, context_of(grid), **dict(options))

    return np.asarray(jax.jit(draw_scores)(Randomness.of(jax.random.key(7), count)))


def clips(ratio=0.75, options=(), grid=GRID, count=64):
    """Mark the strongest tokens; a test below compares the sampler with these maps."""
    values = scores(grid, count, options)
    visible = split_counts(values.shape[1], ratio)[0]
    return visible_map(np.argsort(-values, axis=1, kind="stable")[:, :visible], grid)


def independent(shown):
    """Return maps with as many visible tokens as `shown`, at random places."""
    flat = np.random.default_rng(0).permuted(shown.reshape(len(shown), -1), axis=1)
    return flat.reshape(shown.shape)


def tubes(shown):
    """Repeat the first step of each clip for all its steps."""
    return np.broadcast_to(shown[:, :1], shown.shape)


def correlation_in_time(shown, lag=1):
    centred = shown - shown.mean((1, 2, 3), keepdims=True)
    return (centred[:, lag:] * centred[:, :-lag]).mean() / (centred**2).mean()


def mean_life(shown):
    """Return the mean number of steps for which a token stays visible."""
    begins = shown.copy()
    begins[:, 1:] &= ~shown[:, :-1]
    return shown.sum() / begins.sum()


@pytest.mark.proves(115, "masks correlate in time between random (0) and tube (1)")
@pytest.mark.parametrize("ratio, lowest", [(0.75, 0.4), (0.9, 0.3)])
def test_correlation_of_a_step_with_the_next(ratio, lowest):
    green = clips(ratio)
    assert correlation_in_time(independent(green)) == pytest.approx(0, abs=0.02)
    assert lowest < correlation_in_time(green) < 0.7
    assert correlation_in_time(green) > 2 * abs(correlation_in_time(green, lag=2))
    assert correlation_in_time(tubes(green)) == pytest.approx(1)


@pytest.mark.proves(115, "visible tokens live for some steps of time")
def test_life_of_a_visible_token():
    green, slow = clips(), clips(options=SLOW)
    # Independent steps with a share of 1/4 visible would give 1 / (1 - 1/4) without an end.
    assert mean_life(independent(green)) == pytest.approx(1.28, abs=0.03)
    assert 1.8 < mean_life(green) < 2.5 < mean_life(slow) < 4
    assert mean_life(tubes(green)) == 8


def test_time_and_space_have_different_sigmas():
    green, slow = clips(), clips(options=SLOW)
    assert correlation_in_time(slow) > correlation_in_time(green) + 0.15

    def beside(shown):
        return correlation_in_time(np.swapaxes(shown, 1, 2))

    assert beside(slow) == pytest.approx(beside(green), abs=0.1)


@pytest.mark.proves(115, "the radial 3-D spectrum of noise and masks is band-shaped")
def test_noise_and_masks_have_a_band_shaped_spectrum():
    size = 24
    noise = scores((size, size, size), 8).astype(np.float64)
    masks = clips(grid=(size, size, size), count=8)
    taper = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    axis = np.fft.fftfreq(size)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    rings = [(0.01, 0.05), (0.1, 0.2), (0.3, 0.5)]
    for fields, least in ((noise, 4), (masks - 0.25, 2)):
        window = taper[:, None, None] * taper[:, None] * taper
        waves = np.fft.fftn(fields.reshape(8, size, size, size) * window, axes=(1, 2, 3))
        power = (abs(waves) ** 2).mean(0)
        low, middle, high = (power[(radius > a) & (radius < b)].mean() for a, b in rings)
        assert middle > least * low and middle > least * high, (low, middle, high)


def test_filters_equal_scipy():
    ranges = structured.sigma_ranges((4, 6, 5), *RANGES)
    sigmas = np.array([[0.8, 1.2, 0.9], [2.4, 1.8, 2.0]], np.float32)
    margin = [gaussian.radius(high) for high in ranges[1, :, 1]]
    shape = [size + 2 * edge for size, edge in zip((4, 6, 5), margin, strict=True)]
    canvas = np.random.default_rng(0).standard_normal(shape)
    narrow, wide = structured.band_matrices(jnp.asarray(sigmas), (4, 6, 5), ranges)
    filtered = np.asarray(structured.band_pass(jnp.asarray(canvas, jnp.float32), narrow, wide))
    blurred = [
        scipy.ndimage.gaussian_filter(
            canvas, each, radius=[gaussian.radius(high) for high in highs]
        )
        for each, highs in zip(sigmas, ranges[:, :, 1], strict=True)
    ]
    inner = tuple(slice(edge, -edge) for edge in margin)
    np.testing.assert_allclose(filtered, (blurred[0] - blurred[1])[inner], atol=2e-6)


def test_deviation_of_drawn_sigmas_is_that_of_fixed_ones():
    grid, sigmas = (4, 6, 5), ((1.25, 0.9, 0.9), (2.5, 1.9, 1.9))
    exact = tuple((each, each) for each in (0.9, 1.9, 1.25, 2.5))
    ranges = structured.sigma_ranges(grid, *exact)
    matrices = structured.band_matrices(jnp.asarray(sigmas), grid, ranges)
    blurs = (gaussian.Blur(1.0, sigmas[0]), gaussian.Blur(-1.0, sigmas[1]))
    expected = gaussian.deviation(grid, blurs)
    np.testing.assert_allclose(structured.band_deviation(*matrices), expected, rtol=1e-4)


@pytest.mark.proves(115, "sigmas are drawn for each clip")
def test_clips_differ_in_their_sigmas():

    def smoothness(**ranges):
        field = scores((2, 16, 16), 64, tuple(ranges.items())).reshape(64, 2, 16, 16)
        step = np.diff(field, axis=2)
        return (step**2).mean((1, 2, 3)) / (field**2).mean((1, 2, 3))

    varied = smoothness(narrow=(0.3, 2.0), wide=(2.1, 4.0))
    fixed = smoothness(narrow=(1.0, 1.0), wide=(3.0, 3.0))
    assert varied.std() > 3 * fixed.std()


@pytest.mark.proves(115, "every token is visible equally often")
def test_every_token_is_visible_equally_often():
    shown = clips(grid=(3, 5, 5), count=4000)
    statistic, degrees = coverage_chi_square(shown)
    assert degrees == 74
    assert chi2.sf(statistic, degrees) > SIGNIFICANCE, statistic


@pytest.mark.proves(115, "the visible count of each clip is exact")
@pytest.mark.parametrize("ratio", [0.75, 0.9])
def test_the_sampler_keeps_the_strongest_tokens(ratio):
    grid, randomness = (3, 5, 5), Randomness.of(jax.random.key(7), 100)
    assert (scores(grid, 4000) ** 2).mean() == pytest.approx(1, abs=0.05)
    mask = draw(randomness, sampler=structured.green3d, grid=grid, ratio=ratio)
    assert mask.visible.shape == (100, split_counts(75, ratio)[0])
    visible = visible_map(np.asarray(mask.visible), grid)
    np.testing.assert_array_equal(visible, clips(ratio, grid=grid, count=4000)[:100])


@pytest.mark.parametrize("grid", [(4, 4), (30,), (2, 2, 2, 2)])
def test_other_grids_are_errors(grid):
    with pytest.raises(ValueError, match="use colour"):
        structured.sigma_ranges(grid, *RANGES)


@pytest.mark.parametrize(
    "narrow, wide",
    [
        ((0.0, 1.0), (2.0, 3.0)),
        ((1.0, 0.5), (2.0, 3.0)),
        ((0.5, 2.0), (2.0, 3.0)),
        ((0.5, 1.0), (3.0, 2.0)),
        ((0.5, 1.0), (2.0, float("inf"))),
        ((float("nan"), 1.0), (2.0, 3.0)),
    ],
)
def test_impossible_ranges_are_errors(narrow, wide):
    for ranges in ((narrow, wide, *RANGES[2:]), (*RANGES[:2], narrow, wide)):
        with pytest.raises(ValueError, match="must end below the second"):
            structured.sigma_ranges((4, 4, 4), *ranges)


def test_ranges_that_leave_nothing_are_errors():
    tiny = ((0.01, 0.02), (0.03, 0.04))
    with pytest.raises(ValueError, match="leaves no differences"):
        structured.sigma_ranges((4, 4, 4), *tiny, *tiny)
