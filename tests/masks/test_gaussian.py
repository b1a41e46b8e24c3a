"""Filters against scipy, the variance of fields against theory, and errors."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import scipy.ndimage

from maskmim.masks import colour
from maskmim.masks.gaussian import (
    TRUNCATE,
    Blur,
    deviation,
    filter_canvas,
    filtered_noise,
    kernel,
    margins,
    standardise,
)

pytestmark = pytest.mark.full

FILTERS = {
    "red": (colour.red_filter(1.3), ((1.0, 1.3),)),
    "blue": (colour.blue_filter(0.7), ((1.0, 0.0), (-1.0, 0.7))),
    "green": (colour.green_filter(0.5, 1.5), ((1.0, 0.5), (-1.0, 1.5))),
    "purple": (colour.purple_filter(0.8, 2.0), ((1.0, 0.0), (-1.0, 0.8), (1.0, 2.0))),
    "white": (colour.white_filter(), ((1.0, 0.0),)),
}


def by_scipy(canvas, terms, margin):
    """Filter the whole canvas by scipy, then cut off its margin."""
    total = sum(
        weight * scipy.ndimage.gaussian_filter(canvas, sigma, truncate=TRUNCATE)
        for weight, sigma in terms
    )
    inner = zip(margin, canvas.shape, strict=True)
    return total[tuple(slice(edge, size - edge) for edge, size in inner)]


@pytest.mark.proves(1, "colour filters equal scipy's Gaussian filters")
@pytest.mark.parametrize("grid", [(14, 14), (7, 11), (1, 50), (20,), (4, 6, 5)])
@pytest.mark.parametrize("name", sorted(FILTERS))
def test_filters_equal_scipy(name, grid):
    blurs, terms = FILTERS[name]
    margin = margins(blurs, len(grid))
    shape = tuple(size + 2 * edge for size, edge in zip(grid, margin, strict=True))
    canvas = np.random.default_rng(0).standard_normal((2, *shape))
    filtered = np.asarray(filter_canvas(canvas.astype(np.float32), grid, blurs))
    expected = np.stack([by_scipy(each, terms, margin) for each in canvas])
    assert filtered.shape == (2, *grid)
    np.testing.assert_allclose(filtered, expected, atol=2e-6)


def test_each_axis_may_have_its_own_sigma():
    blurs = (Blur(1.0, (0.0, 1.0, 2.0)),)
    assert margins(blurs, 3) == (0, 4, 8)
    canvas = np.random.default_rng(0).standard_normal((1, 3, 13, 23))
    filtered = np.asarray(filter_canvas(canvas.astype(np.float32), (3, 5, 7), blurs))
    expected = scipy.ndimage.gaussian_filter(canvas[0], (0, 1, 2), truncate=TRUNCATE)
    np.testing.assert_allclose(filtered[0], expected[:, 4:-4, 8:-8], atol=2e-6)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 3.7])
def test_kernels_sum_to_one_and_end_at_four_sigmas(sigma):
    weights = kernel(sigma)
    assert len(weights) == 2 * int(4 * sigma + 0.5) + 1
    assert weights.sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(weights, weights[::-1])


@pytest.mark.parametrize("name", ["red", "green", "blue", "purple"])
def test_fields_have_the_same_variance_in_every_cell(name):
    blurs = colour.filter_of(name)
    fields = np.asarray(filtered_noise(jax.random.split(jax.random.key(2), 20000), (8, 9), blurs))
    variance = fields.var(0)
    # A variance from n normal values has a relative standard error of sqrt(2 / n) = 0.01.
    np.testing.assert_allclose(variance / variance.mean(), 1.0, atol=0.05)


@pytest.mark.parametrize("name", ["red", "green", "blue", "purple", "white"])
def test_deviation_is_that_of_the_fields_about_their_mean(name):
    blurs = colour.filter_of(name)
    fields = np.asarray(filtered_noise(jax.random.split(jax.random.key(3), 20000), (6, 10), blurs))
    centred = fields - fields.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(centred.std(0) / deviation((6, 10), blurs), 1.0, atol=0.03)
    standardised = np.asarray(standardise(fields, blurs))
    np.testing.assert_allclose(standardised, centred / deviation((6, 10), blurs), atol=1e-4)


def test_opposite_borders_are_independent():
    fields = np.asarray(
        filtered_noise(jax.random.split(jax.random.key(4), 5000), (14, 14), colour.red_filter(1.0))
    )
    left, right, beside = fields[:, :, 0], fields[:, :, -1], fields[:, :, 1]
    variance = fields.var()
    assert abs((left * right).mean() / variance) < 0.03
    assert (left * beside).mean() / variance > 0.7


@pytest.mark.parametrize("sigma", [-1.0, float("nan"), float("inf")])
def test_impossible_sigmas_are_errors(sigma):
    with pytest.raises(ValueError, match="sigma"):
        margins((Blur(1.0, sigma),), 2)
    with pytest.raises(ValueError, match="sigma"):
        colour.red_filter(sigma) and margins(colour.red_filter(sigma), 2)


def test_wrong_filters_are_errors():
    with pytest.raises(ValueError, match="3 values"):
        margins((Blur(1.0, (1.0, 1.0, 1.0)),), 2)
    with pytest.raises(ValueError, match="the second larger"):
        colour.green_filter(2.0, 1.0)
    with pytest.raises(ValueError, match="above 0"):
        colour.blue_filter(0.0)
    with pytest.raises(ValueError, match="leaves no differences"):
        deviation((4, 4), colour.green_filter(0.01, 0.02))
    with pytest.raises(ValueError, match="use one of red, green"):
        colour.filter_of("yellow")
    with pytest.raises(ValueError, match="takes 1 sigmas"):
        colour.filter_of("red", (1.0, 2.0))
