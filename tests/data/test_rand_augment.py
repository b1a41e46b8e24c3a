"""RandAugment: every operation against timm's at fixed magnitudes, and how often they come."""

import random

import numpy as np
import pytest
from PIL import Image
from timm.data import auto_augment as timm

from maskmim.data.rand_augment import FILL, OPERATIONS, augment, rand_augment_crop_flip
from maskmim.data.records import DataError
from maskmim.data.transforms import random_resized_crop_flip

# Operation: timm's name of it.
NAMES = {
    "auto_contrast": "AutoContrast",
    "equalize": "Equalize",
    "invert": "Invert",
    "rotate": "Rotate",
    "posterize": "PosterizeIncreasing",
    "solarize": "SolarizeIncreasing",
    "solarize_add": "SolarizeAdd",
    "color": "ColorIncreasing",
    "contrast": "ContrastIncreasing",
    "brightness": "BrightnessIncreasing",
    "sharpness": "SharpnessIncreasing",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateXRel",
    "translate_y": "TranslateYRel",
}
IMAGE = np.random.default_rng(0).integers(20, 230, (12, 10, 3), np.uint8).repeat(4, 0).repeat(4, 1)


def test_the_operations_are_timm_s():
    assert list(NAMES) == list(OPERATIONS)
    assert list(NAMES.values()) == timm._RAND_INCREASING_TRANSFORMS


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sign", [1, -1])
def test_equals_timm(monkeypatch, name, sign):
    monkeypatch.setattr(random, "random", lambda: 0.0 if sign > 0 else 0.9)
    options = {"img_mean": FILL, "interpolation": Image.Resampling.BICUBIC}
    picture = Image.fromarray(IMAGE)
    for magnitude in (0.0, 3.3, 9.0, 9.7, 10.0):
        if name == "posterize" and magnitude == 10.0:  # 0 bits, which Pillow no longer takes
            assert not np.asarray(augment(picture, name, magnitude, sign)).any()
            continue
        theirs = timm.AugmentOp(NAMES[name], 1.0, magnitude, options)(picture)
        ours = augment(picture, name, magnitude, sign)
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs), err_msg=magnitude)


def test_magnitudes_are_clipped():
    picture = Image.fromarray(IMAGE)
    for beyond, limit in ((12.0, 10.0), (-1.0, 0.0)):
        np.testing.assert_array_equal(
            np.asarray(augment(picture, "rotate", beyond, 1)),
            np.asarray(augment(picture, "rotate", limit, 1)),
        )


def test_without_operations_it_is_the_crop():
    for options in ({"count": 0}, {"chance": 0.0}):
        ours = rand_augment_crop_flip(np.random.default_rng(3), IMAGE, (16, 16), **options)
        plain = random_resized_crop_flip(
            np.random.default_rng(3), IMAGE, (16, 16), scale=(0.08, 1.0)
        )
        np.testing.assert_array_equal(ours, plain)


def test_two_operations_come_each_half_of_the_time():
    """A quarter of the crops is left as it is; invert alone always changes a picture."""
    rng, unchanged = np.random.default_rng(0), 0
    crop = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0}
    square = IMAGE[:40, :40]
    for _ in range(400):
        out = rand_augment_crop_flip(rng, square, (40, 40), magnitude=10.0, spread=0.0, **crop)
        unchanged += np.array_equal(out, square)
    # A few operations change nothing, such as posterizing a picture to all of its bits.
    assert 75 < unchanged < 140


def test_refuses_other_channels():
    with pytest.raises(DataError, match="rand_augment_crop_flip"):
        rand_augment_crop_flip(np.random.default_rng(0), IMAGE[..., :1], (8, 8))
