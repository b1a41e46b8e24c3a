"""Patches of images, clips and spectrograms: their order, and the way back."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.models.layers.patches import patchify, unpatchify, upsample_tokens
from maskmim.models.net import token_grid
from maskmim.models.vit import ModelError

CASES = [((6, 8), (2, 4), 3), ((4, 6, 8), (2, 3, 4), 3), ((32, 16), (16, 8), 1), ((12,), (4,), 2)]


@pytest.mark.parametrize(("size", "patch", "channels"), CASES)
def test_patches_are_row_major_and_so_are_their_values(size, patch, channels):
    inputs = np.random.default_rng(0).standard_normal((2, *size, channels)).astype(np.float32)
    grid = token_grid(size, patch)
    patches = np.asarray(patchify(inputs, patch))
    assert patches.shape == (2, np.prod(grid), np.prod(patch) * channels)
    for token, position in enumerate(itertools.product(*map(range, grid))):
        box = tuple(
            slice(at * side, (at + 1) * side) for at, side in zip(position, patch, strict=True)
        )
        np.testing.assert_array_equal(patches[:, token], inputs[(slice(None), *box)].reshape(2, -1))
    np.testing.assert_array_equal(unpatchify(patches, patch, grid), inputs)


@pytest.mark.parametrize("grid", [(2, 3), (2, 3, 4)])
def test_a_finer_grid_repeats_each_value_in_rows_and_columns(grid):
    values = np.random.default_rng(0).standard_normal((2, np.prod(grid))).astype(np.float32)
    fine = np.asarray(upsample_tokens(jnp.asarray(values), grid, 3))
    coarse = values.reshape(2, *grid)
    assert fine.shape == (2, *grid[:-2], 3 * grid[-2], 3 * grid[-1])
    for row, column in itertools.product(range(3), repeat=2):
        np.testing.assert_array_equal(fine[..., row::3, column::3], coarse)


def test_patches_that_do_not_fill_the_input_are_refused():
    with pytest.raises(ModelError, match="do not divide into patches of"):
        token_grid((6, 8), (4, 4))


@pytest.mark.parametrize(("size", "patch"), [((16, 32, 32), (16, 16)), ((16, 16), (2, 16, 16))])
def test_patches_with_another_number_of_axes_are_refused(size, patch):
    with pytest.raises(ModelError, match=r"give input\.size and the patch a number for each"):
        token_grid(size, patch)
