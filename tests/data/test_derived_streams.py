"""Streams that are made of a photograph: of one crop, with the classes that its colours have."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from maskmim.data.derived_streams import colour_classes, grey_and_colours
from maskmim.data.records import DataError
from maskmim.data.resize import resize
from maskmim.data.transforms import random_resized_crop_flip, resize_center_crop

SIZES = {"image": (32, 24), "grey": (32, 24), "colours": (8, 6)}


def photograph(seed=0, side=60):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def test_all_streams_are_made_of_the_same_crop():
    picture = photograph()
    made = grey_and_colours(np.random.default_rng(3), {"image": picture}, SIZES)
    assert {name: a.shape for name, a in made.items()} == {
        "image": (32, 24, 3),
        "grey": (32, 24, 1),
        "colours": (8, 6, 1),
    }
    assert all(array.dtype == np.uint8 for array in made.values())
    crop = random_resized_crop_flip(np.random.default_rng(3), picture, (32, 24))
    np.testing.assert_array_equal(made["image"], crop)
    luminance = Image.fromarray(crop).convert("L").filter(ImageFilter.GaussianBlur(0.04 * 24))
    np.testing.assert_array_equal(made["grey"][..., 0], np.asarray(luminance))
    np.testing.assert_array_equal(made["colours"], colour_classes(resize(crop, (8, 6)), levels=3))


def test_the_classes_are_cells_of_colours():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (9, 7, 3), np.uint8)
    for levels in (2, 3, 6):
        edges = [level * 256 / levels for level in range(1, levels)]
        red, green, blue = (np.digitize(picture[..., c], edges) for c in range(3))
        expected = (red * levels + green) * levels + blue
        found = colour_classes(picture, levels=levels)
        assert found.shape == (9, 7, 1) and found.max() < levels**3
        np.testing.assert_array_equal(found[..., 0], expected)


def test_other_names_and_crops():
    sizes = {"rgb": (16, 16), "depth": (8, 8), "map": (4, 4)}
    names = {"picture": "rgb", "grey": "depth", "colours": "map"}
    made = grey_and_colours(
        np.random.default_rng(0),
        {"rgb": photograph()},
        sizes,
        crop=resize_center_crop,
        blur=0.0,
        **names,
    )
    assert {name: a.shape[:2] for name, a in made.items()} == sizes
    centre = resize_center_crop(np.random.default_rng(9), photograph(), (16, 16))
    np.testing.assert_array_equal(made["rgb"], centre)


@pytest.mark.parametrize(
    ("picture", "sizes", "words"),
    [
        (photograph(), {"image": (8, 8), "grey": (8, 8)}, "add input.streams.colours"),
        (photograph()[..., :1], SIZES, "3 channels of 8 bits, not 1 channel"),
        (photograph().astype(np.float32), SIZES, "of float32"),
    ],
)
def test_what_cannot_be_made_is_refused(picture, sizes, words):
    with pytest.raises(DataError, match=words):
        grey_and_colours(np.random.default_rng(0), {"image": picture}, sizes)
