from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from maskmim.data import fast_crop, transforms
from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
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
    for axis, result in ((0, size[0]), (1, size[1])):
        scale = image.shape[axis] / result
        lines = np.moveaxis(image.astype(object), axis, 0)
        out = []
        for place in range(result):
            middle = (place + 0.5) * scale
            taps = [cubic((i + 0.5 - middle) / max(scale, 1)) for i in range(len(lines))]
            weights = [round(tap / sum(taps) * fast_crop.ONE) for tap in taps]
            total = sum(w * line for w, line in zip(weights, lines, strict=True) if w)
            levels = (total * 2 + fast_crop.ONE) // (2 * fast_crop.ONE)
            out.append(np.clip(levels, 0, 255))
        image = np.moveaxis(np.array(out, dtype=np.int64), 0, axis)
    return image.astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mirror", [False, True])
def test_it_is_exact(shape, mirror):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = fast_crop.resize_by_matrices(image, SIZE, mirror)
    expected = by_definition(image, SIZE)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    assert np.array_equal(found, expected[:, ::-1] if mirror else expected)


@pytest.mark.parametrize("result", [32, 96, 224])
def test_no_sum_leaves_what_float32_holds_exactly(result):
    for length in range(1, fast_crop.MOST * result + 1, 7):
        for _, _, dyadic in fast_crop.resize_bands(length, result):
            weights = dyadic * fast_crop.ONE
            assert np.array_equal(weights, np.rint(weights))
            assert np.abs(weights).sum(axis=0).max() * 255 < 2**24
            # A constant picture stays what it is: rounding of the weights moves no level.
            assert np.abs(weights.sum(axis=0) - fast_crop.ONE).max() * 255 < fast_crop.ONE / 2


def test_products_are_small_enough_for_one_thread(monkeypatch):
    sizes = []
    original = np.matmul

    def counted(left, right, out):
        sizes.append(left.shape[0] * left.shape[1] * right.shape[1])
        return original(left, right, out=out)

    monkeypatch.setattr(fast_crop.np, "matmul", counted)
    image = files.picture(0, (900, 1300, 3))
    fast_crop.resize_by_matrices(image, (448, 448))
    assert len(sizes) > 100 and max(sizes) <= fast_crop.ALONE


def test_photographs_differ_from_pillows_by_single_levels():
    records = grocery(split="test")
    for index in range(0, 400, 40):
        image = decode(records[index].encoded)
        for size in ((64, 64), (80, 112), (150, 150)):
            one = fast_crop.resize_by_matrices(image, size).astype(int)
            difference = np.abs(one - transforms.resize(image, size))
            assert difference.mean() < 0.35 and (difference > 1).mean() < 0.01


def test_crops_and_flips_are_those_of_transforms():
    image = decode(grocery(split="test")[7].encoded)
    for seed in range(30):
        rngs = [np.random.default_rng(seed) for _ in range(2)]
        one, other = (
            crop(rng, image, (48, 64), scale=(0.3, 0.9), flip=0.5)
            for rng, crop in zip(
                rngs,
                (fast_crop.random_resized_crop_flip, transforms.random_resized_crop_flip),
                strict=True,
            )
        )
        assert np.abs(one.astype(int) - other).mean() < 0.5
        assert rngs[0].bit_generator.state == rngs[1].bit_generator.state


def test_much_larger_parts_are_pillows():
    image = files.picture(0, (200, 70, 3))
    for mirror in (False, True):
        expected = transforms.resize(image, (32, 32), mirror=mirror)
        assert np.array_equal(fast_crop.resize_by_matrices(image, (32, 32), mirror), expected)


def test_threads_do_not_disturb_each_other():
    rng = np.random.default_rng(0)
    images = [
        rng.integers(0, 256, (*rng.integers(20, 90, 2), 3), dtype=np.uint8) for _ in range(80)
    ]
    alone = [fast_crop.resize_by_matrices(image, (32, 40)) for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda image: fast_crop.resize_by_matrices(image, (32, 40)), images * 5)
        )
    assert all(np.array_equal(a, b) for a, b in zip(found, alone * 5, strict=True))


def test_real_numbers_are_resized_as_transforms_does():
    image = np.random.default_rng(0).uniform(0, 1, (40, 50, 5)).astype(np.float32)
    for mirror in (False, True):
        found = fast_crop.resize_by_matrices(image, (32, 40), mirror)
        assert np.array_equal(found, transforms.resize(image, (32, 40), mirror=mirror))
