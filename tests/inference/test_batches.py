"""Whole pictures (`crop=False`) of runs whose examples have more arrays than a picture."""

import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.data.blurred_crop import gaussian_blur
from maskmim.inference.batches import batches
from maskmim.inference.inputs import GivenRecords
from maskmim.training.build import build_method

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def whole(name, image):
    """The arrays of the only batch of one picture, as `reconstruct` gets them."""
    config = load(f"{name}:tiny")
    spec, _ = build_method(config)
    records = GivenRecords([image], ["image 0"])
    (batch,) = batches(records, spec, config, most=1, whole=True, as_trained=True)
    return {name: array[0] for name, array in batch.arrays.items()}


def test_a_blurred_picture_and_its_sharp_one_are_of_one_place():
    arrays = whole("deblurring_mae", IMAGE)
    np.testing.assert_array_equal(arrays["sharp"], IMAGE)
    np.testing.assert_array_equal(arrays["image"], gaussian_blur(IMAGE, 3.0))


@pytest.mark.parametrize("image", [IMAGE, IMAGE.repeat(2, axis=0).repeat(2, axis=1)])
def test_a_picture_has_its_segments(image):
    arrays = whole("r_mae", image)
    assert arrays["regions"].shape == (8, 32, 32) and arrays["regions"].any()
    assert np.abs(arrays["image"].astype(int) - IMAGE).mean() < 30
