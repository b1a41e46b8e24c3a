"""What every sampler promises: exact counts, determinism, independence, invariance to splits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmim.masks.core import split_counts
from maskmim.types import Randomness
from tests.masks.sampling import ANY_GRID, SAMPLERS, draw, maps

GRIDS = ((14, 14), (7, 11), (1, 50), (8, 14, 14), (12, 12), (33,))


def check_counts(mask, length: int, ratio: float) -> None:
    visible, predict, hidden = (np.asarray(part) for part in mask[:3])
    seen, unseen = split_counts(length, ratio)
    assert visible.shape[1] == seen and predict.shape[1] == unseen == round(ratio * length)
    together = np.sort(np.concatenate([visible, predict], axis=1), axis=1)
    np.testing.assert_array_equal(together, np.broadcast_to(np.arange(length), together.shape))
    assert (np.diff(visible, axis=1) > 0).all() and (np.diff(predict, axis=1) > 0).all()
    np.testing.assert_array_equal(hidden.sum(1), unseen)
    assert np.take_along_axis(hidden, predict, axis=1).all()
    np.testing.assert_array_equal(np.asarray(mask.weight), 1.0)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(ANY_GRID)),
    st.sampled_from(GRIDS),
    st.floats(0.05, 0.95),
    st.integers(0, 2**31),
)
def test_counts_are_exact_on_any_grid_at_any_ratio(name, grid, ratio, seed):
    randomness = Randomness.of(jax.random.key(seed), 3)
    mask = draw(randomness, sampler=ANY_GRID[name], grid=grid, ratio=ratio)
    check_counts(mask, int(np.prod(grid)), ratio)


@pytest.mark.parametrize("grid", [(7, 11), (1, 20)])
def test_bank_counts_are_exact_on_grids_within_its_patterns(grid):
    randomness = Randomness.of(jax.random.key(1), 7)
    mask = draw(randomness, sampler=SAMPLERS["bank"], grid=grid, ratio=0.6)
    check_counts(mask, int(np.prod(grid)), 0.6)


@pytest.mark.parametrize("ratio", [0.0, 0.001, 0.999, 1.0])
@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_ratio_that_leaves_nothing_is_an_error(name, ratio):
    with pytest.raises(ValueError, match="mask ratio"):
        draw(Randomness.of(jax.random.key(0), 2), sampler=SAMPLERS[name], grid=(4, 4), ratio=ratio)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_same_key_same_masks_other_key_other_masks(name):
    def visible(seed):
        randomness = Randomness.of(jax.random.key(seed), 8)
        mask = draw(randomness, sampler=SAMPLERS[name], grid=(14, 14), ratio=0.75)
        return np.asarray(mask.visible)

    np.testing.assert_array_equal(visible(3), visible(3))
    assert (visible(3) != visible(4)).any()


@pytest.mark.parametrize("name", sorted(ANY_GRID))
def test_every_example_gets_a_mask_of_its_own(name):
    shown = maps(name, (14, 14), 8000).reshape(8000, -1)
    assert len(np.unique(np.packbits(shown, axis=1), axis=0)) == 8000


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_masks_do_not_depend_on_how_a_batch_is_split(name):
    key = jax.random.key(11)

    def visible(slots):
        randomness = Randomness(key, jnp.asarray(slots, jnp.uint32))
        mask = draw(randomness, sampler=SAMPLERS[name], grid=(14, 14), ratio=0.75)
        return np.asarray(mask.visible)

    whole = visible(range(8))
    np.testing.assert_array_equal(np.concatenate([visible(range(4)), visible(range(4, 8))]), whole)
    np.testing.assert_array_equal(visible([6, 1, 3, 0]), whole[[6, 1, 3, 0]])


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_step_with_new_randomness_does_not_trace_again(name):
    before = draw._cache_size()
    for seed in (21, 22, 23):
        randomness = Randomness.of(jax.random.key(seed), 8)
        draw(randomness, sampler=SAMPLERS[name], grid=(14, 14), ratio=0.75)
    assert draw._cache_size() <= before + 1
