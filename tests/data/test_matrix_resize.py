from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from maskmim.data import matrix_resize
from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.data.resize import resize
from maskmim.data.transforms import random_crop_box, random_resized_crop_flip
from tests.data import files

SHAPES = [(60, 80, 3), (17, 31, 1), (24, 24, 5), (90, 33, 3), (1, 1, 3), (1, 90, 2), (40, 3, 3)]
SIZE = (32, 40)


def cubic(x):
    """The bicubic filter with a = -0.5, written as its definition."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def by_definition(image, size):
    """Each axis by whole weights, in Python's integers, rounded halves up and limited."""
    for axis, result in ((1, size[1]), (0, size[0])):
        scale = image.shape[axis] / result
        lines = np.moveaxis(image.astype(object), axis, 0)
        out = []
        for place in range(result):
            middle = (place + 0.5) * scale
            taps = [cubic((i + 0.5 - middle) / max(scale, 1)) for i in range(len(lines))]
            weights = [round(tap / sum(taps) * matrix_resize.ONE) for tap in taps]
            total = sum(w * line for w, line in zip(weights, lines, strict=True) if w)
            levels = (total * 2 + matrix_resize.ONE) // (2 * matrix_resize.ONE)
            out.append(np.clip(levels, 0, 255))
        image = np.moveaxis(np.array(out, dtype=np.int64), 0, axis)
    return image.astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mirror", [False, True])
def test_it_is_exact(shape, mirror):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = matrix_resize.resize_by_matrices(image, SIZE, mirror)
    expected = by_definition(image, SIZE)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    assert np.array_equal(found, expected[:, ::-1] if mirror else expected)


@pytest.mark.parametrize("result", [32, 96, 224])
def test_no_sum_leaves_what_float32_holds_exactly(result):
    for length in range(1, matrix_resize.MOST * result + 1, 7):
        for _, _, dyadic in matrix_resize.resize_bands(length, result):
            weights = dyadic * matrix_resize.ONE
            assert np.array_equal(weights, np.rint(weights))
            assert np.abs(weights).sum(axis=0).max() * 255 < 2**24
            # A constant picture stays what it is: rounding of the weights moves no level.
            assert (
                np.abs(weights.sum(axis=0) - matrix_resize.ONE).max() * 255 < matrix_resize.ONE / 2
            )


def test_products_are_small_enough_for_one_thread(monkeypatch):
    sizes = []
    original = np.matmul

    def counted(left, right, out):
        sizes.append(left.shape[0] * left.shape[1] * right.shape[1])
        return original(left, right, out=out)

    monkeypatch.setattr(matrix_resize.np, "matmul", counted)
    image = files.picture(0, (900, 1300, 3))
    matrix_resize.resize_by_matrices(image, (448, 448))
    assert len(sizes) > 100 and max(sizes) <= matrix_resize.ALONE


def columns_first(image, size):
    """Resize by Pillow, columns then rows, whatever order its version would choose."""
    rows = len(image)
    return resize(resize(image, (rows, size[1])), size).astype(int)


def test_photographs_differ_from_pillows_by_single_levels():
    records = grocery(split="test")
    for index in range(0, 400, 40):
        image = decode(records[index].encoded)
        for size in ((64, 64), (80, 112), (150, 150)):
            one = matrix_resize.resize_by_matrices(image, size).astype(int)
            difference = np.abs(one - columns_first(image, size))
            assert difference.max() <= 1 and (difference > 0).mean() < 0.02


def test_hard_edges_are_those_of_pillow():
    """Levels beyond black and white are limited between the axes, in the order of Pillow."""
    blocks = np.random.default_rng(0).integers(0, 2, (30, 40, 3), np.uint8) * 255
    image = blocks.repeat(7, axis=0).repeat(7, axis=1)
    for size in ((96, 96), (150, 224), (300, 300)):
        one = matrix_resize.resize_by_matrices(image, size).astype(int)
        difference = np.abs(one - columns_first(image, size))
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_crops_and_flips_take_it(flip):
    image = decode(grocery(split="test")[7].encoded)
    for seed in range(10):
        limits = {"scale": (0.3, 0.9), "ratio": (3 / 4, 4 / 3)}
        found = random_resized_crop_flip(
            np.random.default_rng(seed), image, (48, 64), flip=flip, **limits
        )
        box = random_crop_box(np.random.default_rng(seed), image.shape[:2], **limits)
        top, left, height, width = box
        part = image[top : top + height, left : left + width]
        expected = matrix_resize.resize_by_matrices(part, (48, 64), mirror=bool(flip))
        assert np.array_equal(found, expected)


def test_much_larger_parts_are_pillows():
    image = files.picture(0, (200, 70, 3))
    for mirror in (False, True):
        expected = resize(image, (32, 32), mirror=mirror)
        assert np.array_equal(matrix_resize.resize_by_matrices(image, (32, 32), mirror), expected)


def test_threads_do_not_disturb_each_other():
    rng = np.random.default_rng(0)
    images = [
        rng.integers(0, 256, (*rng.integers(20, 90, 2), 3), dtype=np.uint8) for _ in range(80)
    ]
    alone = [matrix_resize.resize_by_matrices(image, (32, 40)) for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda image: matrix_resize.resize_by_matrices(image, (32, 40)), images * 5)
        )
    assert all(np.array_equal(a, b) for a, b in zip(found, alone * 5, strict=True))


def test_real_numbers_are_resized_as_transforms_does():
    image = np.random.default_rng(0).uniform(0, 1, (40, 50, 5)).astype(np.float32)
    for mirror in (False, True):
        found = matrix_resize.resize_by_matrices(image, (32, 40), mirror)
        assert np.array_equal(found, resize(image, (32, 40), mirror=mirror))
