"""Speckle: the moments of Goodman's model, and the crop under it."""

import numpy as np
import pytest

from maskmim.data.speckle import speckle, speckled_center_crop, speckled_crop
from maskmim.data.transforms import random_resized_crop_flip, resize_center_crop

FLAT = np.full((200, 200, 1), 0.5, np.float32)


@pytest.mark.proves(142, "speckle multiplies: intensities have mean 1 and variance 1 / looks")
@pytest.mark.parametrize("looks", [1.0, 4.0])
def test_intensities_have_the_moments_of_a_gamma_distribution(looks):
    intensity = (speckle(np.random.default_rng(0), FLAT, looks) / FLAT).astype(np.float64) ** 2
    assert intensity.mean() == pytest.approx(1.0, abs=5 / np.sqrt(looks * intensity.size))
    assert intensity.var() == pytest.approx(1 / looks, rel=0.05)
    darker = speckle(np.random.default_rng(0), FLAT / 4, looks)
    np.testing.assert_allclose(darker * 4, speckle(np.random.default_rng(0), FLAT, looks), 1e-6)


def test_infinitely_many_looks_leave_the_crops_as_they_are():
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    for ours, plain in (
        (speckled_crop, random_resized_crop_flip),
        (speckled_center_crop, resize_center_crop),
    ):
        a, b = np.random.default_rng(2), np.random.default_rng(2)
        clean = ours(a, image, (16, 16), looks=float("inf"))
        np.testing.assert_array_equal(clean, plain(b, image, (16, 16)))
        noisy = ours(np.random.default_rng(2), image, (16, 16))
        assert noisy.dtype == np.uint8 and np.abs(noisy.astype(int) - clean).mean() > 10
