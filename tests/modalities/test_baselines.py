from __future__ import annotations

import numpy as np
import pytest

from maskmim.modalities import ModalityError
from maskmim.modalities.baselines import class_shares, colour_histogram, raw_pixels


def pictures(height: int, width: int, channels: int = 3, count: int = 3) -> np.ndarray:
    rng = np.random.default_rng(height * width)
    return rng.integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def test_shrinking_by_a_whole_factor_is_the_mean_of_blocks():
    images = pictures(12, 20)
    blocks = images.reshape(3, 4, 3, 5, 4, 3).mean(axis=(2, 4)) / 255
    found = raw_pixels(images, size=(4, 5))
    np.testing.assert_allclose(found, blocks.reshape(3, -1), atol=1e-6)


@pytest.mark.parametrize("size", [(16, 7), (5, 29), (36, 1)])
def test_shrinking_by_any_factor_averages_exact_areas(size):
    images = pictures(37, 29)
    fine = images.repeat(size[0], axis=1).repeat(size[1], axis=2).astype(np.float64)
    means = fine.reshape(3, size[0], 37, size[1], 29, 3).mean(axis=(2, 4)) / 255
    np.testing.assert_allclose(raw_pixels(images, size=size), means.reshape(3, -1), atol=1e-6)


def test_raw_pixels_default_is_as_wide_as_vit_base_and_errors_when_it_would_enlarge():
    assert raw_pixels(pictures(96, 96)).shape == (3, 768)
    with pytest.raises(ModalityError, match=r"\(16, 16\).*8 x 96"):
        raw_pixels(pictures(8, 96))


@pytest.mark.parametrize(("channels", "bins"), [(3, 4), (1, 16), (4, 3)])
def test_histogram_agrees_with_numpy(channels, bins):
    images = pictures(9, 11, channels)
    found = np.asarray(colour_histogram(images, bins=bins))
    assert found.shape == (3, bins**channels)
    for image, row in zip(images, found, strict=True):
        pixels = image.reshape(-1, channels)
        edges = [np.arange(bins + 1) * 256 / bins] * channels
        counts, _ = np.histogramdd(pixels, bins=edges)
        np.testing.assert_allclose(row, np.sqrt(counts.ravel() / len(pixels)), atol=1e-6)


def test_histogram_ignores_places_and_has_unit_length():
    images = pictures(8, 8)
    flipped = images[:, ::-1, ::-1]
    np.testing.assert_array_equal(colour_histogram(images), colour_histogram(flipped))
    lengths = np.linalg.norm(np.asarray(colour_histogram(images)), axis=1)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-6)


@pytest.mark.parametrize(("channels", "bins"), [(3, 1), (3, 41), (13, 8)])
def test_histograms_of_absurd_size_are_errors(channels, bins):
    with pytest.raises(ModalityError, match=f"bins = {bins} of {channels} channels"):
        colour_histogram(pictures(4, 4, channels), bins=bins)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_shares_of_classes_agree_with_numpy_and_leave_out_unknown_ones(dtype):
    maps = np.random.default_rng(0).integers(0, 7, (3, 5, 6, 1)).astype(dtype)
    maps[0, 0] = 200  # a label that stands for none
    found = np.asarray(class_shares(maps, classes=7))
    expected = [np.bincount(each.ravel(), minlength=7)[:7] / 30 for each in maps]
    np.testing.assert_allclose(found, np.sqrt(expected), atol=1e-6)


def test_negative_indices_are_no_class():
    maps = np.full((1, 2, 2, 1), -1, np.int32)
    assert not np.asarray(class_shares(maps, classes=3)).any()
