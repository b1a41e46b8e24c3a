"""Whole slices of a grid."""

import jax
import numpy as np
import pytest

from maskmim.mask_tools.statistics import coverage_p_value
from maskmim.masks.core import MaskError
from maskmim.masks.slices import hide_slices, named_axes, random_slices, slice_counts
from tests.tolerances import SIGNIFICANCE


@pytest.mark.parametrize("along", [(0,), (1,), (2,), (1, 2), (0, 2)])
def test_a_slice_is_hidden_everywhere_on_the_other_axes(along):
    grid = (3, 4, 5)
    size = [grid[axis] for axis in along]
    first = np.arange(np.prod(size)) % 3 == 1
    chosen = np.stack([first, first[::-1]])
    mask = hide_slices(chosen, grid, along, hidden=int(chosen[0].sum()))
    shape = [2] + [size if axis in along else 1 for axis, size in enumerate(grid)]
    expected = np.broadcast_to(chosen.reshape(shape), (2, *grid)).reshape(2, -1)
    np.testing.assert_array_equal(mask.hidden, expected)
    assert mask.predict.shape[1] == expected[0].sum()


def test_slices_are_chosen_equally_often_and_their_number_is_exact():
    keys = jax.random.split(jax.random.key(0), 3000)
    hidden = np.asarray(jax.jit(random_slices, static_argnums=(1, 2))(keys, 9, 4))
    np.testing.assert_array_equal(hidden.sum(1), 4)
    assert coverage_p_value(hidden) > SIGNIFICANCE


def test_errors_name_what_is_wrong():
    assert slice_counts(196, ratio=0.9, kind="places") == (20, 176)
    with pytest.raises(MaskError, match=r"0\.95 of 8 time steps hides 8"):
        slice_counts(8, ratio=0.95, kind="time steps")
    assert named_axes([4, 5], ("time", "mel")) == (4, 5)
    with pytest.raises(MaskError, match=r"\(14, 14\) has 2 axes.*\(time, rows, columns\)"):
        named_axes((14, 14), ("time", "rows", "columns"))
