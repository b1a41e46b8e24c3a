"""Regions of a crop: drawn among its segments, cut and mirrored with the picture."""

import numpy as np
import pytest

from maskmim.data.joint_crop import joint_crop
from maskmim.data.records import DataError
from maskmim.data.region_crops import center_regions, crop_regions, drawn_regions

SIZES = {"image": (16, 24), "regions": (5, 16, 24)}


def example(seed=0):
    """A picture whose red level is the number of the segment."""
    coarse = np.random.default_rng(seed).permutation(12).reshape(3, 4)
    labels = np.repeat(np.repeat(coarse, 12, axis=0), 10, axis=1).astype(np.int32)
    picture = np.stack([labels * 20, labels * 0, labels * 0 + 7], axis=-1).astype(np.uint8)
    return {"image": picture, "regions": labels}


def test_regions_are_segments_of_the_same_crop():
    arrays = example()
    made = crop_regions(np.random.default_rng(5), arrays, SIZES, scale=(0.6, 1.0))
    both = joint_crop(
        np.random.default_rng(5),
        arrays,
        {"image": (16, 24), "regions": (16, 24)},
        scale=(0.6, 1.0),
        nearest=("regions",),
    )
    np.testing.assert_array_equal(made["image"], both["image"])
    assert made["regions"].shape == (5, 16, 24) and made["regions"].dtype == bool
    drawn = [np.unique(both["regions"][region]) for region in made["regions"]]
    assert all(len(label) == 1 for label in drawn) and len(np.unique(drawn)) == 5
    for region, label in zip(made["regions"], drawn, strict=True):
        np.testing.assert_array_equal(region, both["regions"] == label)


def test_the_centre_is_cropped_without_chance():
    one, two = (center_regions(np.random.default_rng(s), example(), SIZES) for s in (0, 1))
    np.testing.assert_array_equal(one["image"], two["image"])
    assert (one["regions"] != two["regions"]).any()


@pytest.mark.parametrize(("segments", "times"), [(1, {5}), (2, {2, 3}), (3, {1, 2}), (7, {1})])
def test_too_few_segments_are_repeated(segments, times):
    labels = np.arange(segments)[:, None].repeat(4, axis=1)
    for seed in range(20):
        drawn = drawn_regions(np.random.default_rng(seed), labels, 5)
        assert drawn.shape == (5, segments, 4)
        counts = np.bincount(drawn[:, :, 0].argmax(axis=1), minlength=segments)
        assert set(counts[counts > 0]) <= times and counts.sum() == 5


def test_a_field_of_another_form_is_refused():
    with pytest.raises(DataError, match=r"regions\.shape, such as 8,224,224"):
        crop_regions(np.random.default_rng(0), example(), {"image": (16, 24), "regions": (16, 24)})
