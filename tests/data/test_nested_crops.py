"""Nested crops: where they lie, against Pillow with boxes read off a picture of coordinates."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from maskmim.data.grocery import grocery
from maskmim.data.nested_crops import global_to_local, local_to_global, random_pair
from maskmim.data.pipeline import train_batches
from maskmim.types import Spec
from tests.tolerances import SIGNIFICANCE

ROWS, COLUMNS = 150, 190
SIZE = (64, 48)


def coordinates() -> np.ndarray:
    """A picture f32[H, W, 2] whose pixels hold their row and column."""
    axes = np.meshgrid(np.arange(ROWS), np.arange(COLUMNS), indexing="ij")
    return np.stack(axes, -1).astype(np.float32)


def box_of(view: np.ndarray, within: tuple[float, ...] = (0, 0, 1, 1)) -> tuple[float, ...]:
    """Read off where a view of `coordinates` lies: (top, left, height, width), width < 0: mirrored.

    within: top, left of a resized crop and the size of its pixels, of which the view was cut.
    """
    found = []
    for axis, line in enumerate((view[:, view.shape[1] // 2, 0], view[view.shape[0] // 2, :, 1])):
        count = len(line)
        inner = np.arange(count // 4, 3 * count // 4)  # the filter is cut off at the edges
        slope, start = np.polyfit(inner, line[inner], 1)
        low = start - slope * 0.5 + 0.5  # the left edge of the first pixel
        if slope < 0:
            low += slope * count
        origin, pixel = within[axis], within[axis + 2]
        found.append(((low - origin) / pixel, slope * count / pixel))
    (top, height), (left, width) = found
    return top, left, height, width


def boxes(views: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Read off the global box in the picture and the local box in the resized global crop."""
    outer = box_of(views[0])
    top, left, height, width = outer
    return outer, box_of(views[1], (top, left, height / SIZE[0], abs(width) / SIZE[1]))


def cut(picture: np.ndarray, box: tuple[float, ...]) -> np.ndarray:
    """Crop and resize by Pillow as torchvision does; boxes lie on whole pixels."""
    top, left, height, width = (round(number) for number in box)
    np.testing.assert_allclose(box, (top, left, height, width), atol=0.3)
    edges = (left, top, left + abs(width), top + height)
    small = Image.fromarray(picture).crop(edges)
    return np.asarray(small.resize(SIZE[::-1], Image.Resampling.BILINEAR))


def mirror(picture: np.ndarray, box: tuple[float, ...]) -> np.ndarray:
    return picture[:, ::-1] if box[3] < 0 else picture


@pytest.mark.proves(67, "a global crop and a local crop of it, resized bilinearly as by Pillow")
def test_both_crops_equal_pillows_with_the_same_boxes():
    picture = np.random.default_rng(7).integers(0, 256, (ROWS, COLUMNS, 3), np.uint8)
    flips = set()
    for seed in range(40):
        run = partial(global_to_local, size=SIZE, global_scale=(0.3, 1.0))
        outer, inner = boxes(run(np.random.default_rng(seed), coordinates())["views"])
        views = run(np.random.default_rng(seed), picture)["views"]
        assert views.shape == (2, *SIZE, 3) and views.dtype == np.uint8
        whole = cut(picture, outer)
        np.testing.assert_array_equal(views[0], mirror(whole, outer))
        np.testing.assert_array_equal(views[1], mirror(cut(whole, inner), inner))
        flips.add((outer[3] < 0, inner[3] < 0))
    assert len(flips) == 4


@pytest.mark.proves(67, "the local crop lies inside the global one, at 30 to 60 % of its area")
def test_the_local_crop_lies_inside_the_global_one():
    rng = np.random.default_rng(0)
    found = [boxes(global_to_local(rng, coordinates(), SIZE)["views"]) for _ in range(400)]
    outer, inner = (np.array(each) for each in zip(*found, strict=True))
    shares, aspects = shapes_of(inner, SIZE)
    assert 0.29 < shares.min() < 0.32 and 0.58 < shares.max() < 0.62
    assert 0.73 < aspects.min() < 0.8 and 1.25 < aspects.max() < 1.37
    assert inner[:, :2].min() > -0.1
    assert (inner[:, 0] + inner[:, 2]).max() < SIZE[0] + 0.1
    assert (inner[:, 1] + np.abs(inner[:, 3])).max() < SIZE[1] + 0.1
    shares, _ = shapes_of(outer, (ROWS, COLUMNS))
    assert 0.09 < shares.min() < 0.13 and 0.9 < shares.max() < 1.01
    mirrored = np.stack([outer[:, 3] < 0, inner[:, 3] < 0], -1)
    counts = np.array([[(mirrored == (a, b)).all(-1).sum() for b in (0, 1)] for a in (0, 1)])
    assert stats.chisquare(counts.ravel()).pvalue > SIGNIFICANCE


def shapes_of(found: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return shares of the area and widths / heights of boxes."""
    width = np.abs(found[:, 3])
    return found[:, 2] * width / (size[0] * size[1]), width / found[:, 2]


def test_the_other_order():
    picture = np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8)
    options = {"size": SIZE, "flip": 0.0}
    nested, turned = (
        augment(np.random.default_rng(3), picture, **options)["views"]
        for augment in (global_to_local, local_to_global)
    )
    np.testing.assert_array_equal(nested[::-1], turned)


def test_a_random_pair_is_two_crops_of_the_picture():
    """Both have the limits of a global crop, and neither is inside the other as a rule."""
    rng = np.random.default_rng(0)
    views = [random_pair(rng, coordinates(), SIZE, scale=(0.2, 0.4))["views"] for _ in range(200)]
    for number in range(2):
        shares, _ = shapes_of(np.array([box_of(pair[number]) for pair in views]), (ROWS, COLUMNS))
        assert 0.18 < shares.min() < 0.23 and 0.37 < shares.max() < 0.42
    first, second = (np.array([box_of(pair[number]) for pair in views]) for number in range(2))
    inside = (second[:, :2] >= first[:, :2]).all(-1)
    inside &= (second[:, 0] + second[:, 2] <= first[:, 0] + first[:, 2]) & (
        second[:, 1] + np.abs(second[:, 3]) <= first[:, 1] + np.abs(first[:, 3])
    )
    assert inside.mean() < 0.2


def test_flips_can_be_turned_off():
    for augment in (global_to_local, local_to_global, random_pair):
        rng = np.random.default_rng(0)
        views = [augment(rng, coordinates(), SIZE, flip=0.0)["views"] for _ in range(20)]
        assert all(box_of(view)[3] > 0 for pair in views for view in pair)


def test_a_batch_holds_pairs_of_any_number_of_channels():
    spec = Spec((32, 40), 3, (0.5,) * 3, (0.5,) * 3)
    read = partial(train_batches, grocery(split="val"), spec=spec, batch_size=4, seed=1)
    batch = next(iter(read(augment=global_to_local)))
    assert batch["views"].shape == (4, 2, 32, 40, 3) and "image" not in batch
    np.testing.assert_array_equal(
        batch["views"], next(iter(read(augment=global_to_local)))["views"]
    )
    deep = np.random.default_rng(0).normal(size=(50, 60, 5)).astype(np.float32)
    views = global_to_local(np.random.default_rng(0), deep, (16, 16))["views"]
    assert views.shape == (2, 16, 16, 5) and views.dtype == np.float32
