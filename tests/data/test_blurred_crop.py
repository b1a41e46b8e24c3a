"""Blurred and sharp crops: scipy's filter, the same box, and the blur before the crop."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from maskmim.data.blurred_crop import blurred_center_crop, blurred_crop, gaussian_blur, pair_shapes
from maskmim.data.transforms import random_resized_crop_flip, resize_center_crop

SIZE = (16, 24)
NOTHING = 0.05  # a sigma whose kernel is 1 at its centre


def picture(seed=0, shape=(37, 45, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def scipy_blur(image, sigma, radius):
    """The mirror of scipy leaves out the outermost pixel, as OpenCV's default border does."""
    return gaussian_filter(
        image.astype(np.float64), sigma, mode="mirror", radius=radius, axes=(0, 1)
    )


@pytest.mark.proves(95, "the blur equals scipy's Gaussian filter with OpenCV's radius for 8 bits")
@pytest.mark.parametrize(("sigma", "radius"), [(0.5, 2), (1.1, 4), (2.0, 6)])
def test_the_blur_equals_scipy(sigma, radius):
    """OpenCV's kernel for 8 bits has round(6 sigma + 1) values, one more where that is even."""
    image = picture()
    expected = scipy_blur(image, sigma, radius)
    exact = gaussian_blur(image.astype(np.float32), sigma)
    assert exact.dtype == np.float32
    np.testing.assert_allclose(exact, expected, rtol=0, atol=1e-3)
    assert np.abs(scipy_blur(image, sigma, radius - 1) - expected).max() > 0.01
    rounded = gaussian_blur(image, sigma)
    assert rounded.dtype == np.uint8
    assert np.abs(rounded - expected).max() < 0.501


@pytest.mark.proves(95, "the blurred and the sharp crop are one box with one flip")
def test_both_crops_are_at_the_same_place():
    seen = set()
    for seed in range(12):
        pair = blurred_crop(np.random.default_rng(seed), picture(), SIZE, sigma=NOTHING)
        np.testing.assert_array_equal(pair["image"], pair["sharp"])
        seen.add(pair["sharp"].tobytes())
    assert len(seen) == 12


def test_a_picture_is_blurred_before_it_is_cropped():
    image = picture(shape=(60, 80, 3))
    pair = blurred_center_crop(np.random.default_rng(0), image, SIZE)
    np.testing.assert_array_equal(pair["sharp"], resize_center_crop(None, image, SIZE))
    expected = resize_center_crop(None, gaussian_blur(image, 1.1), SIZE)
    np.testing.assert_array_equal(pair["image"], expected)
    late = gaussian_blur(pair["sharp"], 1.1)
    assert np.abs(pair["image"].astype(int) - late).mean() > 5


def test_the_crop_obeys_its_limits():
    """A crop of the whole picture, of its own size: the picture itself, or mirrored."""
    image = picture(shape=(*SIZE, 3))
    keywords = {"scale": (1.0, 1.0), "ratio": (1.5, 1.5)}
    for flip, expected in ((0.0, image), (1.0, image[:, ::-1])):
        rng = np.random.default_rng(1)
        pair = blurred_crop(rng, image, SIZE, sigma=NOTHING, flip=flip, **keywords)
        alone = random_resized_crop_flip(rng, image, SIZE, flip=flip, **keywords)
        np.testing.assert_array_equal(pair["sharp"], expected)
        np.testing.assert_array_equal(alone, expected)


@pytest.mark.parametrize("channels", [1, 3, 13])
def test_the_arrays_are_those_declared(channels):
    image = picture(shape=(30, 30, channels))
    pair = blurred_crop(np.random.default_rng(0), image, SIZE)
    assert {name: array.shape for name, array in pair.items()} == pair_shapes(SIZE, channels)
    assert all(array.dtype == np.uint8 for array in pair.values())
