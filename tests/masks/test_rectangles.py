"""Rectangles: equal to CAPI's, exact counts on any grid, every place equally likely."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from maskmim.masks import rectangles
from maskmim.masks.core import MaskError
from tests.golden.masks.block_official import CAPI, CASES, noise, recorded
from tests.tolerances import SIGNIFICANCE


@functools.partial(jax.jit, static_argnames=("draw", "grid", "count", "aspect"))
def draw_rectangles(keys, draw, grid, count, aspect=(0.5, 2.0)):
    return draw(keys, grid, count=count, aspect=aspect)


def masks(draw, grid, count, batch, aspect=(0.5, 2.0)):
    keys = jax.random.split(jax.random.key(5), batch)
    return np.asarray(draw_rectangles(keys, draw, grid, count, aspect))


def extent(mask):
    """Return the first token and the number of tokens of a mask on each axis."""
    used = [np.flatnonzero(mask.any(other)) for other in (1, 0)]
    return [(axis[0], axis[-1] - axis[0] + 1) for axis in used]


@functools.partial(jax.jit, static_argnames=("grid", "count"))
def place_rectangles(noise, grid, count):
    """Return sides and tokens of rectangles from noise in CAPI's order: aspect, place, shift."""
    sides = rectangles.whole_sides(noise[:, : -2 * len(grid)], grid, count=count, aspect=(0.5, 2.0))
    starts, shifts = jnp.split(noise[:, -2 * len(grid) :], 2, axis=1)
    starts = rectangles.places(starts, jnp.array(grid) - sides + 1)
    starts = (starts + rectangles.places(shifts, jnp.array(grid))) % jnp.array(grid)
    return sides, rectangles.boxes(sides, starts, grid, count=count)


@pytest.mark.proves(64, "rectangles equal the official ones for the same random numbers")
@pytest.mark.parametrize("place", range(len(CAPI)))
def test_rectangles_equal_capis(place):
    """Recorded by tests/golden/masks/block_official.py from facebookresearch/capi."""
    grid, count = CAPI[place]
    ours = place_rectangles(jnp.asarray(noise(place, CASES, 5)), grid, count)[1]
    np.testing.assert_array_equal(np.asarray(ours), recorded("capi", place, grid))


@pytest.mark.parametrize("grid", [(14, 14), (1, 40), (33,), (3, 5, 4)])
def test_counts_are_exact_on_any_grid(grid):
    tokens = math.prod(grid)
    uniforms = noise(0, 40, 3 * len(grid) - 1)
    # The ends of the range are where rounding could lose a token.
    uniforms[0], uniforms[1] = 0, 1 - 2**-24
    for count in (1, tokens // 2, tokens - 1):
        sides, masks_drawn = (
            np.asarray(part) for part in place_rectangles(jnp.asarray(uniforms), grid, count)
        )
        assert (sides <= grid).all() and (sides.prod(1) >= count).all()
        assert (masks_drawn.reshape(40, -1).sum(1) == count).all()


def test_rectangles_lie_inside_and_only_their_last_rows_are_cut():
    for mask in masks(rectangles.inside, (14, 14), 34, 500, aspect=(0.75, 1.5)):
        (top, height), (left, width) = extent(mask)
        box = mask[top : top + height, left : left + width]
        flat = box.reshape(-1)
        assert flat[:34].all() and not flat[34:].any()
        assert height * width - 34 < width
        assert math.ceil(math.sqrt(34 * 0.75)) - 1 <= height <= math.ceil(math.sqrt(34 * 1.5))


@pytest.mark.parametrize("draw, rooms", [(rectangles.inside, 10), (rectangles.rolled, 14)])
def test_every_place_is_equally_likely(draw, rooms):
    # Squares of 25 tokens have 10 places on each axis of 14 inside, 14 when they may pass the end.
    shown = masks(draw, (14, 14), 25, 6000, aspect=(1.0, 1.0))
    first = shown & ~np.roll(shown, 1, 1) & ~np.roll(shown, 1, 2)
    places = first.sum(0)
    assert places.sum() == 6000 and (places > 0).sum() == rooms**2
    assert chisquare(places[places > 0]).pvalue > SIGNIFICANCE


def test_aspects_are_log_uniform():
    uniforms = jax.random.uniform(jax.random.key(3), (4000, 1))
    sides = rectangles.real_sides(
        uniforms, jnp.float32(60.0), (14, 14), (0.5, 2.0), within=rectangles.narrowed
    )
    height, width = (np.asarray(side, np.float64) for side in sides)
    np.testing.assert_allclose(height * width, 60, rtol=1e-5)
    share = np.log(height / width) / (2 * math.log(2)) + 0.5
    assert kstest(share, "uniform").pvalue > SIGNIFICANCE


def test_what_cannot_be_drawn_is_an_error():
    for count in (0, 17):
        with pytest.raises(MaskError, match="rectangle of"):
            masks(rectangles.inside, (4, 4), count, 2)
    for aspect in ((0.0, 1.0), (2.0, 1.0)):
        with pytest.raises(MaskError, match="aspect"):
            masks(rectangles.rolled, (4, 4), 4, 2, aspect=aspect)
