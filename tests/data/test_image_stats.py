"""What is measured of images, compared with numpy on all of their values at once."""

import numpy as np
import pytest

from maskmim.data.image_stats import ImageStats, Values, measure
from maskmim.data.stats_report import by_images, flags, report, value_range
from tests.data import files
from tests.data.deep_files import numbers, png16, tiff

SHARES = (0, 0.1, 1, 50, 99, 99.9, 100)
TYPES = ["uint8", "uint16", "int16", "int8", "int32", "uint32", "float16", "float32", "float64"]


def collected(images):
    stats = ImageStats()
    for image in images:
        stats.add(measure(image))
    return stats


def several(dtype, channels=2):
    shapes = [(9, 7, channels), (4, 30, channels), (1, 1, channels)]
    return [numbers(dtype, shape, seed) for seed, shape in enumerate(shapes)]


@pytest.mark.parametrize("dtype", TYPES)
def test_moments_and_percentiles_are_numpys(dtype):
    images = several(dtype)
    values = collected(images).groups.popitem()[1].values
    for c in range(2):
        whole = np.concatenate([image[..., c].ravel() for image in images]).astype(np.float64)
        assert values.count[c] == whole.size and values.lost[c] == 0
        assert (values.low[c], values.high[c]) == (whole.min(), whole.max())
        assert values.mean[c] == pytest.approx(whole.mean(), rel=1e-12, abs=1e-12)
        std = np.sqrt(values.squares[c] / whole.size)
        assert std == pytest.approx(whole.std(), rel=1e-12)
        expected = np.percentile(whole, SHARES, method="inverted_cdf")
        exact = np.dtype(dtype).kind in "iu" and np.dtype(dtype).itemsize <= 2
        assert values.percentiles(SHARES, c) == pytest.approx(expected, rel=0 if exact else 1.1e-3)


@pytest.mark.parametrize("dtype", TYPES)
def test_moments_after_clipping_are_those_of_the_clipped_values(dtype):
    images = several(dtype, 1)
    whole = np.concatenate([image.ravel() for image in images]).astype(np.float64)
    values = collected(images).groups.popitem()[1].values
    for low, high in [np.percentile(whole, (20, 70)), (whole.min(), whole.max())]:
        clipped = np.clip((whole - low) / (high - low), 0, 1)
        mean, square = (moment[0] for moment in values.moments(low, high))
        assert mean == pytest.approx(clipped.mean(), abs=1e-3)
        assert np.sqrt(square - mean**2) == pytest.approx(clipped.std(), abs=1e-3)


def test_values_that_are_not_finite_are_counted_apart():
    image = np.array([[[1.0], [np.nan], [np.inf], [3.0]]], np.float32)
    values = Values.of(image)
    assert values.lost[0] == 2 and values.count[0] == 2 and values.mean[0] == 2
    values.add(Values.of(image * np.nan))
    assert values.lost[0] == 6 and values.mean[0] == 2
    assert values.percentiles((50,), 0) == pytest.approx(1, rel=1e-3)


def test_a_range_leaves_out_a_few_wild_pixels_only():
    calm = numbers("uint16", (100, 100, 1)) // 16
    assert value_range(by_images(collected([calm]))) == (calm.min(), calm.max())
    wild = calm.copy()
    wild[0, 0] = 65535
    low, high = value_range(by_images(collected([wild])))
    assert [low, high] == np.sort(wild.ravel())[[9, 9989]].tolist()
    assert value_range(by_images(collected([np.full((2, 2, 1), 7, np.uint16)]))) == (7, 8)


def test_ordinary_photographs_need_mean_and_std_only():
    pictures = [files.picture(seed) for seed in range(3)]
    stats = collected([files.encoded(picture, "PNG") for picture in pictures])
    lines, remarks = flags(stats)
    whole = np.stack(pictures).reshape(-1, 3) / 255
    assert lines[:2] == ["--config.input.channels=3", "--config.input.dtype=uint8"]
    for line, expected in zip(lines[2:], (whole.mean(0), whole.std(0)), strict=True):
        found = [float(number) for number in line.split("=")[1].split(",")]
        assert found == pytest.approx(expected, abs=1e-3)
    assert not remarks and stats.grey == 0


def test_grey_files_among_photographs_count_in_each_channel():
    grey, colour = files.picture(1, (20, 30)), files.picture(2)
    equal = np.repeat(files.picture(3, (20, 30))[..., None], 3, -1)
    stats = collected([files.encoded(each, "PNG") for each in (grey, colour, equal)])
    assert stats.grey == 2
    whole = np.concatenate([np.repeat(grey.reshape(-1, 1), 3, 1), *colour, *equal]) / 255
    mean = [float(number) for number in flags(stats)[0][2].split("=")[1].split(",")]
    assert mean == pytest.approx(whole.mean(0), abs=1e-3)
    assert "66.7% of them grey" in report(stats, "here")


def test_other_numbers_of_bands_and_other_types_are_told():
    images = [tiff(numbers("uint16", (9, 7, 5)), planarconfig="contig", photometric="minisblack")]
    images += [png16(numbers("uint16", (9, 7, 1)))]
    _, remarks = flags(collected(images * 2 + images[:1]))
    assert "2 images of 1 channels where the flags say 5" in remarks[0]
    mixed = [files.encoded(files.picture(0), "PNG"), png16(numbers("uint16", (9, 7, 3)))]
    _, remarks = flags(collected(mixed))
    assert "several types (1 uint8, 1 uint16)" in remarks[0]


def test_a_channel_of_one_value_does_not_divide_by_zero():
    image = numbers("float32", (9, 7, 2))
    image[..., 1] = 0.5
    lines, remarks = flags(collected([image]))
    assert lines[-1].endswith(",1") and "one value everywhere in channel 1" in remarks[0]


def test_memory_does_not_grow_with_the_images():
    stats = collected([numbers("float32", (5, 5, 3), seed) for seed in range(50)])
    assert len(stats.groups) == 1
    assert stats.groups.popitem()[1].values.counts.nbytes == 3 * 8 * 2**18


@pytest.mark.parametrize(
    "middle, width, dtype",
    [(1e6, 1, "float32"), (1e9, 1, "float64"), (1e30, 1e28, "float32"), (0, 1e-20, "float32")],
)
def test_a_range_holds_all_values_whatever_their_offset(middle, width, dtype):
    images = [np.random.default_rng(i).normal(middle, width, (40, 50, 1)) for i in range(3)]
    images = [image.astype(dtype) for image in images]
    stats = collected(images)
    low, high = value_range(by_images(stats))
    whole = np.stack(images).astype(np.float64)
    assert low <= whole.min() and whole.max() <= high
    assert high - low < np.ptp(whole) * 1.001
    lines, remarks = flags(stats)
    printed = lines[2].split("=")[1]
    assert [float(number) for number in printed.split(",")] == [low, high] and not remarks
    mean, std = (float(line.split("=")[1]) for line in lines[-2:])
    inputs = ((whole - low) / (high - low) - mean) / std
    assert abs(inputs.mean()) < 1e-3 and abs(inputs.std() - 1) < 1e-3
    row = report(stats, "here").splitlines()[-1].split()
    assert float(row[1]) < float(row[8]) < float(row[7])  # least, mean, largest


def test_bands_of_very_different_scales_have_a_mean_and_a_std_each():
    rng = np.random.default_rng(0)
    bands = [rng.normal(0.1, 0.02, (40, 50)), rng.normal(9000, 900, (40, 50))]
    lines, remarks = flags(collected([np.stack(bands, -1).astype(np.float32)]))
    std = [float(number) for number in lines[-1].split("=")[1].split(",")]
    assert std[1] / std[0] == pytest.approx(bands[1].std() / bands[0].std(), rel=1e-3)
    assert not remarks
