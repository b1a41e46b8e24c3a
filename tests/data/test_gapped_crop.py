"""Crops with gaps: each patch lies in its cell, at every allowed place, and none touches another.

That patches equal the official ones is tested with the model, in tests/models/test_latent_mim.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from maskmim.data.gapped_crop import cut_patches, gapped_crop
from maskmim.data.records import DataError
from maskmim.data.transforms import random_resized_crop_flip
from tests.tolerances import SIGNIFICANCE

PICTURE = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)


def test_patches_are_windows_of_their_cells():
    crop = np.arange(10 * 15 * 2).reshape(10, 15, 2)
    offsets = np.array([[[0, 1, 1], [1, 0, 1]], [[1, 0, 1], [0, 0, 1]]])
    found = cut_patches(crop, offsets, (4, 3))
    assert found.shape == (8, 9, 2)
    for row in range(2):
        for column in range(3):
            top, left = row * 5 + offsets[0, row, column], column * 5 + offsets[1, row, column]
            ours = found[row * 4 : row * 4 + 4, column * 3 : column * 3 + 3]
            np.testing.assert_array_equal(ours, crop[top : top + 4, left : left + 3])


@pytest.mark.proves(
    133, "each patch lies in its cell of the crop at offsets from 0 to gap - 1, all equally likely"
)
def test_offsets_lie_below_the_gap():
    """Columns of the whole picture, 7 levels apart, are cut without being resized."""
    size, gap, found = (6, 8), 3, []
    ramp = np.tile(7 * np.arange(20, dtype=np.uint8), (15, 1))[..., None]
    for seed in range(40):
        rng = np.random.default_rng(seed)
        made = gapped_crop(
            rng, ramp, size, patch=(2, 2), gap=gap, scale=(1, 1), ratio=(4 / 3, 4 / 3), flip=0
        )
        firsts = made[::2, ::2, 0] / 7
        found.append(firsts - 5 * np.arange(4))
    found = np.rint(np.stack(found))
    values, counts = np.unique(found, return_counts=True)
    np.testing.assert_array_equal(values, [0, 1, 2])
    assert chisquare(counts).pvalue > SIGNIFICANCE
    assert all(len(np.unique(one)) > 1 for one in found)


def test_without_a_gap_it_is_the_ordinary_crop():
    crops = [
        gapped_crop(np.random.default_rng(3), PICTURE, (16, 24), patch=(8, 8), gap=0),
        random_resized_crop_flip(np.random.default_rng(3), PICTURE, (16, 24)),
    ]
    np.testing.assert_array_equal(*crops)
    gapped = gapped_crop(np.random.default_rng(3), PICTURE, (16, 24), patch=(8, 8), gap=2)
    assert gapped.shape == (16, 24, 3) and gapped.dtype == np.uint8


def test_patches_that_do_not_fill_the_size_are_an_error():
    with pytest.raises(DataError, match="patches of 16x16 do not fill 24x32"):
        gapped_crop(np.random.default_rng(0), PICTURE, (24, 32))
