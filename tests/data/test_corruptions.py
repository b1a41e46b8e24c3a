"""Corruptions beside scikit-image, scipy and Pillow; noise that depends on the picture alone."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats
from skimage.color import hsv2rgb, rgb2hsv
from skimage.filters import gaussian
from skimage.util import random_noise

from maskmim.data import corruptions
from maskmim.data.corruptions import (
    CORRUPTIONS,
    LEVELS,
    PIXELS,
    SEVERITIES,
    SIDE,
    CorruptionError,
    corrupted,
    disk,
)
from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from tests.tolerances import SIGNIFICANCE

ROWS, COLUMNS = 48, 60


@pytest.fixture(scope="module")
def picture():
    pixels = decode(grocery(split="val")[3].encoded)
    return np.ascontiguousarray(pixels[:ROWS, :COLUMNS])


def rounded(values):
    return np.clip(np.rint(np.asarray(values) * 255), 0, 255).astype(np.uint8)


def generator(name, index):
    return np.random.Generator(np.random.Philox(key=[index, zlib.crc32(name.encode())]))


def their_noise(image, severity, parameter):
    return random_noise(image, "gaussian", rng=generator("gaussian_noise", 7), var=parameter**2)


def their_blur(image, severity, parameter):
    sigma = parameter * ROWS / SIDE
    return gaussian(image, sigma, channel_axis=-1, mode="nearest", truncate=4.0)


def their_defocus(image, severity, parameter):
    kernel = disk(parameter * ROWS / SIDE)[..., None]
    return ndimage.convolve(image, kernel, mode="mirror")


def their_brightness(image, severity, parameter):
    hsv = rgb2hsv(image)
    hsv[..., 2] = np.clip(hsv[..., 2] + parameter, 0, 1)
    return hsv2rgb(hsv)


def their_contrast(image, severity, parameter):
    means = np.stack([np.full(image.shape[:2], image[..., c].mean()) for c in range(3)], -1)
    return means + parameter * (image - means)


def their_jpeg(image, severity, parameter):
    file = io.BytesIO()
    Image.fromarray(rounded(image)).save(file, "JPEG", quality=parameter)
    return np.asarray(Image.open(file)) / 255


def their_pixels(image, severity, parameter):
    small = int(COLUMNS * parameter), int(ROWS * parameter)
    shrunk = Image.fromarray(rounded(image)).resize(small, Image.Resampling.BOX)
    return np.asarray(shrunk.resize((COLUMNS, ROWS), Image.Resampling.BOX)) / 255


THEIRS = {
    "gaussian_noise": their_noise,
    "gaussian_blur": their_blur,
    "defocus_blur": their_defocus,
    "brightness": their_brightness,
    "contrast": their_contrast,
    "jpeg": their_jpeg,
    "pixelate": their_pixels,
}


@pytest.mark.parametrize("severity", LEVELS)
@pytest.mark.parametrize("name", THEIRS)
def test_each_is_that_of_another_library(picture, name, severity):
    found = corrupted(picture, name, severity, index=7)
    parameter = SEVERITIES[name][severity - 1]
    theirs = rounded(THEIRS[name](picture / 255.0, severity, parameter))
    assert np.abs(found.astype(int) - theirs).max() <= 1
    assert (found == theirs).mean() > 0.98  # others lie halfway between two levels


def test_shot_noise_follows_the_law_of_poisson():
    grey = np.full((64, 64, 3), 128, np.uint8)
    photons = SEVERITIES["shot_noise"][0]
    counts = np.rint(corrupted(grey, "shot_noise", 1, index=0) / 255 * photons).astype(int).ravel()
    expected = stats.poisson(128 / 255 * photons)
    bins = np.arange(20, 42)
    seen = np.array([(counts == n).sum() for n in bins])
    inside = seen.sum() / expected.pmf(bins).sum()
    assert stats.chisquare(seen, inside * expected.pmf(bins)).pvalue > SIGNIFICANCE


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severities_grow_and_depend_on_the_picture_alone(picture, name):
    errors = []
    for severity in LEVELS:
        found = corrupted(picture, name, severity, index=5)
        assert found.shape == picture.shape and found.dtype == np.uint8
        np.testing.assert_array_equal(found, corrupted(picture, name, severity, index=5))
        errors.append(np.abs(found.astype(float) - picture).mean())
        other = corrupted(picture, name, severity, index=6)
        assert (found != other).any() == name.endswith("_noise")
    # A sigma of 0.2 pixels, a fifth of the published one, changes nothing.
    assert errors == sorted(errors) and errors[0 if name != "gaussian_blur" else 1] > 0
    grey = corrupted(picture[..., :1], name, 3, index=5)
    assert grey.shape == (ROWS, COLUMNS, 1)


def test_a_disk_holds_its_area_and_blurs_grow_with_the_picture(picture):
    for radius in (0.3, 1.0, 1.3, 4.6):
        kernel = disk(radius)
        assert kernel.sum() == pytest.approx(1) and len(kernel) % 2 == 1
        np.testing.assert_array_equal(kernel, kernel.T[::-1])
        if radius > 1:
            assert kernel.max() == pytest.approx(1 / (np.pi * radius**2), rel=0.05)
    twice = picture.repeat(2, 0).repeat(2, 1)
    for name in PIXELS:
        small = corrupted(picture, name, 5, index=0).astype(float)
        large = corrupted(twice, name, 5, index=0)[::2, ::2]
        assert np.abs(small - large).mean() < 6 < np.abs(small - picture).mean()


def test_what_is_no_corruption_is_refused(picture):
    with pytest.raises(CorruptionError, match="no corruption 'snow'; known are gaussian_noise"):
        corrupted(picture, "snow", 1, index=0)
    with pytest.raises(CorruptionError, match="severity 6"):
        corrupted(picture, "jpeg", 6, index=0)
    with pytest.raises(CorruptionError, match="not of float64"):
        corrupted(picture / 255, "jpeg", 1, index=0)
    assert set(corruptions.SEVERITIES) == set(CORRUPTIONS)
