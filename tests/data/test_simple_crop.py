"""The simple random crop, three-augment and the two views made of them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from maskmim.data import simple_crop
from maskmim.data.records import DataError
from maskmim.data.resize import resize


def picture(rows=40, columns=56, channels=3, seed=0):
    """Noise u8[rows, columns, channels]."""
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, channels), np.uint8)


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((40, 56), (16, 16), (16, 22)),  # torchvision: int(16 * 56 / 40)
        ((56, 40), (16, 16), (22, 16)),
        ((50, 50), (16, 16), (16, 16)),
        ((8, 11), (32, 32), (32, 44)),
        ((40, 56), (16, 30), (21, 30)),
        ((40, 56), (30, 16), (30, 42)),
        ((1, 1000), (8, 8), (8, 8000)),
    ],
)
def test_a_picture_covers_the_size_with_its_shape_kept(shape, size, expected):
    found = simple_crop.cover(picture(*shape), size)
    assert found.shape == (*expected, 3)
    np.testing.assert_array_equal(found, resize(picture(*shape), expected))


def test_every_place_of_the_padded_picture_is_taken():
    """Crops are windows of the reflected picture; each place and each flip comes about as often."""
    image = picture(12, 12)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    windows = {}
    for top in range(5):
        for left in range(5):
            window = padded[top : top + 12, left : left + 12]
            windows[window.tobytes()] = (top, left, False)
            windows[np.ascontiguousarray(window[:, ::-1]).tobytes()] = (top, left, True)
    assert len(windows) == 50
    counts = dict.fromkeys(windows.values(), 0)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        crop = simple_crop.simple_random_crop(rng, image, (12, 12), padding=2)
        counts[windows[crop.tobytes()]] += 1
    assert min(counts.values()) > 15 and max(counts.values()) < 75


def test_flip_and_padding_are_obeyed():
    image = picture(12, 12)
    rng = np.random.default_rng(0)
    plain = simple_crop.simple_random_crop(rng, image, (12, 12), padding=0, flip=0.0)
    mirrored = simple_crop.simple_random_crop(rng, image, (12, 12), padding=0, flip=1.0)
    np.testing.assert_array_equal(plain, image)
    np.testing.assert_array_equal(mirrored, image[:, ::-1])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_any_channels_may_be_cropped(dtype):
    image = picture(20, 30, channels=5).astype(dtype)
    crop = simple_crop.simple_random_crop(np.random.default_rng(0), image, (16, 16))
    assert crop.shape == (16, 16, 5) and crop.dtype == dtype


def test_three_augment_takes_each_of_three_as_often():
    crop = Image.fromarray(picture(16, 16))
    array = np.asarray(crop)
    counts = {"grey": 0, "solarised": 0, "blurred": 0}
    rng = np.random.default_rng(0)
    for _ in range(900):
        found = np.asarray(simple_crop.three_augment(rng, crop))
        if np.array_equal(found, np.where(array < 128, array, 255 - array)):
            counts["solarised"] += 1
        elif np.all(found == found[..., :1]):
            counts["grey"] += 1
        else:
            counts["blurred"] += 1
            assert np.std(found) < np.std(array) or np.array_equal(found, array)
    assert min(counts.values()) > 240, counts


def test_two_views_are_crops_of_which_the_second_has_other_colours():
    """A picture of one colour has crops of this colour; of the second only jitter is left."""
    rng = np.random.default_rng(0)
    orange = np.broadcast_to(np.array([200, 120, 40], np.uint8), (40, 56, 3))
    made = [simple_crop.two_views(rng, orange, (16, 16))["views"] for _ in range(60)]
    assert all(each.shape == (2, 16, 16, 3) and each.dtype == np.uint8 for each in made)
    first, second = np.stack(made).swapaxes(0, 1)
    assert np.all(first == orange[:1, :1][None])
    assert np.all(second == second[:, :1, :1])
    grey = np.all(second == second[..., :1], axis=(1, 2, 3))
    assert 10 < grey.sum() < 30
    unchanged = simple_crop.two_views(rng, orange, (16, 16), jitter_chance=0.0)["views"][1]
    assert np.all(unchanged == unchanged[:1, :1])


def test_both_views_have_places_of_their_own():
    rng = np.random.default_rng(0)
    image = picture(16, 40)
    views = [
        simple_crop.two_views(rng, image, (16, 16), jitter_chance=0.0)["views"] for _ in range(8)
    ]
    same = [np.array_equal(*each) for each in views]
    assert not any(same)
    assert len({each[0].tobytes() for each in views}) > 4


def test_the_same_numbers_make_the_same_views():
    one, other = (
        simple_crop.two_views(np.random.default_rng(3), picture(), (16, 16))["views"]
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, other)


def test_other_than_three_channels_of_8_bits_are_refused():
    with pytest.raises(DataError, match="two_views changes colours"):
        simple_crop.two_views(np.random.default_rng(0), picture(channels=4), (16, 16))
