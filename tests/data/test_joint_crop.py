"""One crop and one flip for all arrays, compared with Pillow on each array with the same box."""

from functools import partial

import numpy as np
import pytest
from PIL import Image

from maskmim.data.joint_crop import check_maps_are_named, joint_center_crop, joint_crop
from maskmim.data.records import BadImage, DataError
from maskmim.data.transforms import random_crop_box, random_resized_crop_flip, resize_center_crop
from maskmim.types import Field, Spec

ROWS, COLUMNS = 48, 60
SIZE = {"image": (16, 20), "depth": (8, 10), "map": (12, 6), "flow": (16, 20)}


def example(seed=0, factor=1):
    """Arrays of one scene; depth and map at `factor` times the resolution."""
    rng = np.random.default_rng(seed)
    small = (ROWS * factor, COLUMNS * factor)
    return {
        "image": rng.integers(0, 256, (ROWS, COLUMNS, 3), np.uint8),
        "depth": rng.normal(size=(*small, 1)).astype(np.float32),
        "map": rng.integers(0, 256, (*small, 1), np.uint8),
        "flow": rng.normal(size=(ROWS, COLUMNS, 2)).astype(np.float32),
    }


def draw(seed, flip=0.5):
    """The box and the flip that the crop draws: top, left, height, width, mirrored."""
    rng = np.random.default_rng(seed)
    box = random_crop_box(rng, (ROWS, COLUMNS), scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3))
    return *box, rng.random() < flip


def by_pillow(array, size, seed, factor, resample):
    top, left, height, width, mirrored = draw(seed)
    part = array[top * factor : (top + height) * factor, left * factor : (left + width) * factor]
    image = Image.fromarray(np.ascontiguousarray(part[..., 0]))
    image = image.resize(size[::-1], resample, reducing_gap=3.0)
    return np.asarray(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image)


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_every_array_has_the_same_part(seed, factor):
    arrays = example(seed, factor)
    made = joint_crop(np.random.default_rng(seed), arrays, SIZE, nearest=("map",), flow=("flow",))
    alone = random_resized_crop_flip(np.random.default_rng(seed), arrays["image"], SIZE["image"])
    np.testing.assert_array_equal(made["image"], alone)
    depth = by_pillow(arrays["depth"], SIZE["depth"], seed, factor, Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(made["depth"][..., 0], depth)
    nearest = by_pillow(arrays["map"], SIZE["map"], seed, factor, Image.Resampling.NEAREST)
    np.testing.assert_array_equal(made["map"][..., 0], nearest)


def test_both_directions_are_drawn():
    assert {draw(seed)[-1] for seed in range(6)} == {True, False}


@pytest.mark.parametrize("seed", range(4))
def test_flow_is_measured_in_the_new_pixels(seed):
    arrays = example(seed)
    made = joint_crop(np.random.default_rng(seed), arrays, SIZE, nearest=("map",), flow=("flow",))
    _, _, height, width, mirrored = draw(seed)
    for axis, factor in ((0, 20 / width * (-1 if mirrored else 1)), (1, 16 / height)):
        channel = arrays["flow"][..., axis : axis + 1]
        pixels = by_pillow(channel, SIZE["flow"], seed, 1, Image.Resampling.BICUBIC)
        np.testing.assert_allclose(made["flow"][..., axis], pixels * factor, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_boxes_follow_the_objects(seed):
    """A box around a bright rectangle is around it after the crop, too."""
    image = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    image[12:36, 15:45] = 255
    boxes = np.float32([[15 / COLUMNS, 12 / ROWS, 45 / COLUMNS, 36 / ROWS, 7], [0, 0, 0, 0, 0]])
    size = {"image": (480, 600), "boxes": (2, 5)}
    arrays = {"image": image, "boxes": boxes}
    made = joint_crop(np.random.default_rng(seed), arrays, size, boxes=("boxes",), flip=0.5)
    bright = made["image"][..., 0] > 127
    rows, columns = np.nonzero(bright.any(1))[0], np.nonzero(bright.any(0))[0]
    left, top, right, bottom = made["boxes"][0, :4] * [600, 480, 600, 480]
    seen = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    np.testing.assert_allclose((left, top, right, bottom), seen, atol=6)
    assert made["boxes"][0, 4] == 7 and not made["boxes"][1].any()


def test_a_box_outside_the_part_becomes_nothing():
    boxes = np.float32([[0, 0, 0.1, 0.1], [0.4, 0.4, 0.9, 0.6]])
    arrays = {"image": np.zeros((40, 40, 3), np.uint8), "boxes": boxes}
    size = {"image": (8, 8), "boxes": (2, 4)}
    made = joint_center_crop(None, arrays, size, crop_fraction=0.5, boxes=("boxes",))["boxes"]
    np.testing.assert_allclose(made, [[0, 0, 0, 0], [0.3, 0.3, 1, 0.7]], atol=1e-6)


@pytest.mark.parametrize("factor", [1, 2])
def test_evaluation_crops_the_same_centre(factor):
    arrays = example(1, factor)
    size = {"image": (16, 16), "depth": (8, 8), "map": (8, 8), "flow": (16, 16)}
    made = joint_center_crop(None, arrays, size, nearest=("map",), keep=("flow",))
    for name in ("image", "depth"):
        alone = resize_center_crop(None, arrays[name], size[name])
        np.testing.assert_allclose(made[name], alone, atol=1e-5)
    side = 0.875 * ROWS * factor
    box = ((COLUMNS * factor - side) / 2, (ROWS * factor - side) / 2)
    box = (*box, box[0] + side, box[1] + side)
    expected = Image.fromarray(arrays["map"][..., 0]).resize((8, 8), Image.Resampling.NEAREST, box)
    np.testing.assert_array_equal(made["map"][..., 0], expected)
    assert made["flow"] is arrays["flow"]


def test_an_array_alone_is_cropped_as_by_the_plain_transforms():
    image = example()["image"]
    for joint, plain in ((joint_crop, random_resized_crop_flip), (joint_center_crop,) * 2):
        if plain is joint_center_crop:
            plain = resize_center_crop
        made = joint(np.random.default_rng(3), image, (16, 20))
        np.testing.assert_array_equal(made, plain(np.random.default_rng(3), image, (16, 20)))


def test_maps_without_channels_stay_without():
    arrays = {"image": example()["image"], "map": example()["map"][..., 0].astype(np.int32)}
    made = joint_crop(np.random.default_rng(0), arrays, SIZE, nearest=("map",))
    assert made["map"].shape == (12, 6) and made["map"].dtype == np.int32


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({}, {"nearest": ("mpa",)}, r"nearest has 'mpa', the example has image, depth, map, flow"),
        ({}, {"nearest": ("map",), "keep": ("map",)}, r"keep has 'map', as nearest has"),
        ({"map": np.zeros((12, 15, 1), np.int32)}, {}, r"'map' has numbers of type int32.*nearest"),
        ({"map": np.zeros(12, np.uint8)}, {}, r"'map' of shape \(12,\).*data.augment.keep"),
        ({}, {"flow": ("depth",)}, r"'depth' of float32 and 1 channels is no flow"),
        ({}, {"boxes": ("map",)}, r"'map' of uint8\[48, 60, 1\] has no boxes"),
        ({"map": np.full((2, 4), 30.0)}, {"boxes": ("map",)}, r"corners from 30 to 30.*0 to 1"),
        ({}, {"keep": ("image", "depth", "map", "flow")}, "no array of .* has rows and columns"),
    ],
)
def test_what_cannot_be_cropped_is_a_sentence(changes, options, words):
    with pytest.raises(DataError, match=words):
        joint_crop(np.random.default_rng(0), {**example(), **changes}, SIZE, **options)


@pytest.mark.parametrize(
    "shape", [(48, 60), (24, 30), (96, 120), (47, 60), (16, 20), (7, 9), (7, 8)]
)
def test_a_map_of_any_scale_may_be_rounded_by_less_than_a_pixel(shape):
    arrays = {"image": example()["image"], "map": np.zeros((*shape, 1), np.uint8)}
    assert (
        joint_crop(np.random.default_rng(0), arrays, SIZE, nearest=("map",))["map"].shape[0] == 12
    )


@pytest.mark.parametrize("crop", [joint_crop, joint_center_crop])
@pytest.mark.parametrize("shape", [(60, 48), (24, 24), (48, 57), (240, 280)])
@pytest.mark.parametrize("kind", ["nearest", "amounts"])
def test_a_map_of_another_aspect_is_a_bad_image(crop, shape, kind):
    arrays = {"image": example()["image"], "map": np.zeros((*shape, 1), np.uint8)}
    names = ("map",) if kind == "nearest" else ()
    rows, columns = shape
    words = rf"^{rows} x {columns} \(height x width\), but image is 48 x 60.*EXIF"
    with pytest.raises(BadImage, match=words) as caught:
        crop(np.random.default_rng(0), arrays, SIZE, nearest=names)
    assert caught.value.stream == "map"
    assert "map" in crop(np.random.default_rng(0), arrays, SIZE, keep=("map",))


def test_maps_must_be_named_before_the_first_step():
    keywords = dict.fromkeys(("nearest", "flow", "boxes", "keep"), ())
    classes = Spec((8, 8), 1, (), (), stream="map", classes=9)
    fields = {"seen": Field((8, 8), "bool"), "boxes": Field((2, 4), "float32")}
    spec = Spec((8, 8), 3, (), (), streams={"map": classes}, fields=fields)
    with pytest.raises(DataError, match=r"'map', 'seen'.*evals.transform.nearest=map,seen"):
        check_maps_are_named(partial(joint_crop, **keywords), spec, "evals.transform")
    named = {**keywords, "nearest": ("map",), "keep": ("seen",)}
    check_maps_are_named(partial(joint_crop, **named), spec, "evals.transform")
    check_maps_are_named(random_resized_crop_flip, spec, "evals.transform")
