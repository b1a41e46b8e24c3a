"""Windows of the decoder: how far a block attends, and how its windows are shifted."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.models.layers.swin_blocks import MASKED_SCORE
from maskmim.models.layers.window_blocks import WindowBlock, shifted_time_mask, window_stack

pytestmark = pytest.mark.full

GRID, WIDTH, SIDE = (12, 8), 8, 4


@cache
def block(shift):
    module = WindowBlock(GRID, 2, 16, SIDE, shift, 1e-6, jnp.float32)
    x = jax.random.normal(jax.random.key(0), (1, GRID[0] * GRID[1], WIDTH))
    params = jax.jit(module.init)(jax.random.key(1), x)
    return x, jax.jit(lambda x: module.apply(params, x))


def reached(shift, place):
    """Return where a change at one place of the grid shows, as sets of times and of bands."""
    x, run = block(shift)
    other = x.at[:, place[0] * GRID[1] + place[1]].add(1.0)
    changed = np.any(np.asarray(run(other) != run(x)), axis=(0, 2)).reshape(GRID)
    times, bands = (set(np.flatnonzero(changed.any(axis=axis)).tolist()) for axis in (1, 0))
    assert changed.sum() == len(times) * len(bands)
    return times, bands


@pytest.mark.proves(12, "a block of the decoder looks no further than its window of 4 x 4 patches")
@pytest.mark.parametrize(
    ("shift", "place", "times"),
    [
        (0, (5, 6), {4, 5, 6, 7}),
        (0, (11, 1), {8, 9, 10, 11}),
        (2, (5, 6), {2, 3, 4, 5}),
        (2, (6, 1), {6, 7, 8, 9}),
        # The window with both the end and, rolled over, the beginning keeps them apart.
        (2, (11, 6), {10, 11}),
        (2, (0, 1), {0, 1}),
    ],
)
def test_how_far_a_block_attends(shift, place, times):
    bands = {0, 1, 2, 3} if place[1] < SIDE else {4, 5, 6, 7}
    assert reached(shift, place) == (times, bands)


def test_mask_separates_the_beginning_from_the_end():
    np.testing.assert_array_equal(shifted_time_mask(GRID, SIDE, 0), 0)
    mask = shifted_time_mask(GRID, SIDE, 2).reshape(3, 2, SIDE, SIDE, SIDE, SIDE)
    np.testing.assert_array_equal(mask[:2], 0)
    late = np.array([False, False, True, True])
    expected = np.where(late[:, None] != late, MASKED_SCORE, 0.0)
    np.testing.assert_array_equal(mask[2, 0, :, 1, :, 3], expected)
    np.testing.assert_array_equal(mask[2, 1, :, 0, :, 0], expected)


def test_remat_and_unrolling_change_no_number():
    x = jax.random.normal(jax.random.key(0), (1, GRID[0] * GRID[1], WIDTH))
    shape = (GRID, 2, 16, SIDE, 2, 1e-6, jnp.float32)
    plain = window_stack(4, *shape, remat="none", unroll=False, name=None)
    params = jax.jit(plain.init)(jax.random.key(1), x, None)
    assert params["params"]["plain"]["attention"]["qkv"]["kernel"].shape[0] == 2
    other = window_stack(4, *shape, remat="full", unroll=True, name=None)
    expected, _ = jax.jit(plain.apply)(params, x, None)
    computed, _ = jax.jit(other.apply)(params, x, None)
    np.testing.assert_allclose(computed, expected, rtol=1e-5, atol=1e-5)
