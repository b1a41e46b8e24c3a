"""Bands of a file in groups: which, and how their numbers become levels."""

import numpy as np
import pytest

from maskmim.data.band_groups import band_groups
from maskmim.data.records import BadImage, DataError
from tests.data.deep_files import tiff

RNG = np.random.default_rng(0)
GROUPS = {"image": (3, 0), "other": (2,)}


def test_groups_hold_the_bands_that_they_name():
    picture = RNG.integers(0, 256, (5, 7, 4), np.uint8)
    made = band_groups(RNG, tiff(picture, planarconfig="contig"), groups=GROUPS, bands=4)
    np.testing.assert_array_equal(made["image"], picture[..., [3, 0]])
    np.testing.assert_array_equal(made["other"], picture[..., [2]])
    assert list(made) == ["image", "other"] and made["image"].flags["C_CONTIGUOUS"]


def test_numbers_become_levels_by_the_range_of_their_band():
    stored = RNG.integers(0, 4000, (6, 5, 4), dtype=np.uint16)
    ranges = ((100.0, 1000.0), (0.0, 1.0), (-50.0, 3000.0), (1000.5, 2000.0))
    made = band_groups(
        RNG, tiff(stored, planarconfig="contig"), groups=GROUPS, bands=4, ranges=ranges
    )
    low, high = np.array(ranges).T
    levels = np.clip((stored - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(made["image"], levels[..., [3, 0]])
    np.testing.assert_array_equal(made["other"], levels[..., [2]])
    assert made["image"].min() == 0 and made["image"].max() == 255


def test_what_does_not_fit_is_refused():
    file = tiff(np.zeros((4, 4, 4), np.uint8), planarconfig="contig")
    with pytest.raises(DataError, match=r"groups\.image has the band 3, .* bands 0 to 2"):
        band_groups(RNG, file, groups=GROUPS, bands=3)
    with pytest.raises(DataError, match="ranges has 1 range for 4 bands"):
        band_groups(RNG, file, groups=GROUPS, bands=4, ranges=((0.0, 1.0),))
    with pytest.raises(BadImage, match="4"):
        band_groups(RNG, file, groups=GROUPS, bands=5)
