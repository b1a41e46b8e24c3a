"""Pixels without data: marked by GDAL's tag, NaN, or by a number that no tag explains."""

from functools import partial

import numpy as np
import pytest

from maskmim.data import folder
from maskmim.data.decode import as_stored, decode, picture, read_stored, scaled
from maskmim.data.image_check import range_remarks
from maskmim.data.image_stats import ImageStats, measure
from maskmim.data.records import BadImage
from maskmim.data.stats_report import by_images, flags, report
from maskmim.data.value_range import value_range
from tests.data import files
from tests.data.deep_files import tiff

RNG = np.random.default_rng(0)
MARKS = [
    ("uint8", 255),
    ("int8", -128),
    ("int16", -9999),
    ("int16", -32768),
    ("uint16", 65535),
    ("int32", -(2**31)),
    ("uint32", 2**32 - 1),
    ("int64", -(2**63)),
    ("uint64", 2**64 - 1),
    ("float32", -9999),
    ("float64", -1.7976931348623157e308),
]


def elevation(dtype, mark, seed=0, bands=1, share=0.3):
    """Return numbers 20 to 100, and where a share of them is replaced by a mark."""
    rng = np.random.default_rng(seed)
    values = rng.integers(20, 101, (40, 50, bands)).astype(dtype)
    absent = rng.random((40, 50)) < share
    values[absent] = np.array(mark).astype(dtype)
    return values, absent


def encoded(values, mark=None, **options):
    tag = {"extratags": [(42113, "s", 0, str(mark), True)]} if mark is not None else {}
    layout = {"planarconfig": "contig"} if values.shape[-1] > 1 else {}
    values = values if values.shape[-1] > 1 else values[..., 0]
    return tiff(values, **({"photometric": "minisblack"} | layout | tag | options))


def collected(images):
    stats = ImageStats()
    for image in images:
        stats.add(measure(image))
    return stats


@pytest.mark.parametrize("bands", [1, 5])
@pytest.mark.parametrize("dtype, mark", MARKS)
def test_the_tag_makes_any_type_the_low_end(dtype, mark, bands):
    values, absent = elevation(dtype, mark, bands=bands)
    file = encoded(values, mark)
    found = scaled(RNG, file, channels=bands, value_range=(20, 100))
    low, high = (0, 255) if dtype == "uint8" else (20, 100)
    expected = np.clip((values.astype(float) - low) / (high - low), 0, 1)
    expected[absent] = 0
    assert np.abs(found - expected).max() < 1e-6
    levels = decode(file, channels=bands, value_range=(20, 100))
    assert np.array_equal(levels, np.rint(expected * 255))
    with pytest.raises(BadImage, match="no data"):
        as_stored(RNG, file, channels=bands)
    with pytest.raises(BadImage, match="no pixel is finite"):
        decode(encoded(np.full_like(values, np.array(mark).astype(dtype)), mark), channels=bands)


def test_colours_alpha_and_white_as_zero_keep_their_meaning():
    values, absent = elevation("uint8", 255, bands=4)
    values[..., 3] = 255
    rgba = encoded(values, 255, photometric="rgb", extrasamples=["unassalpha"])
    found = decode(rgba, channels=4)
    assert not found[absent][:, :3].any() and (found[..., 3] == 255).all()
    assert np.array_equal(found[~absent], values[~absent])
    values, absent = elevation("uint16", 0)
    white = encoded(values, 0, photometric="miniswhite")
    levels = as_stored(RNG, encoded(values, photometric="miniswhite"), channels=1)[..., 0]
    expected = np.where(absent, 0, levels / 65535)
    assert np.abs(scaled(RNG, white, channels=1)[..., 0] - expected).max() < 1e-6


@pytest.mark.parametrize("dtype, mark", [*MARKS[2:], ("float32", np.nan), ("float32", np.inf)])
def test_printed_flags_are_those_of_the_inputs(dtype, mark):
    images = [encoded(elevation(dtype, mark, seed)[0], mark) for seed in range(4)]
    if np.isinf(mark):
        images = [encoded(elevation(dtype, mark, seed)[0]) for seed in range(4)]
    stats = collected(images)
    assert value_range(by_images(stats)) == (20, 100)
    lines, remarks = flags(stats)
    assert "no data" in remarks[0] and len(remarks) == 1
    mean, std = (float(line.split("=")[1]) for line in lines[-2:])
    inputs = np.stack([scaled(RNG, each, channels=1, value_range=(20, 100)) for each in images])
    assert ((inputs - mean) / std).mean() == pytest.approx(0, abs=1e-3)
    assert ((inputs - mean) / std).std() == pytest.approx(1, abs=1e-3)
    least = report(stats, "here").splitlines()[-1].split()[1]
    assert float(least) == 20  # the table is of the data alone


@pytest.mark.parametrize("dtype, mark", MARKS[2:])
def test_a_likely_mark_without_a_tag_is_told_and_left_out(dtype, mark, tmp_path):
    images = [encoded(elevation(dtype, mark, seed, share=0.05)[0]) for seed in range(4)]
    stats = collected(images)
    low, high = value_range(by_images(stats))
    assert low == pytest.approx(20, rel=2e-3) and high == pytest.approx(100, rel=2e-3)
    (line,) = [line for line in flags(stats)[1] if "likely no data" in line]
    assert f"{float(mark):.10g}" in line and "gdal_edit.py -a_nodata" in line
    files.write(tmp_path, {f"{i}.tif": image for i, image in enumerate(images)})
    records = folder.unlabelled(path=str(tmp_path))
    wide = partial(scaled, value_range=(min(0.0, float(mark)), max(100.0, float(mark))))
    assert any("likely no data" in line for line in range_remarks(records, wide, 1))
    fitting = partial(picture, value_range=(20, 100))
    assert not any("likely no data" in line for line in range_remarks(records, fitting, 1))


def test_measurements_are_no_marks():
    rng = np.random.default_rng(0)
    hot = rng.integers(100, 400, (100, 100, 1)).astype(np.uint16)
    hot[0, :5] = 65535  # 0.05 %
    dark = rng.integers(0, 3000, (100, 100, 1)).astype(np.uint16)
    dark[:30] = 0
    classes = np.array([0, 7, 255], np.uint16)[rng.integers(0, 3, (100, 100, 1))]
    for image in (hot, dark, classes):
        assert not [line for line in flags(collected([image]))[1] if "likely" in line]


def test_an_image_without_data_is_unreadable_in_stats_as_in_training():
    for values in (np.full((5, 5, 1), np.nan, np.float32), np.full((5, 5, 1), -9999, np.int16)):
        with pytest.raises(BadImage, match="no pixel is finite"):
            measure(encoded(values, -9999))


def test_what_is_absent_is_kept_beside_the_values():
    values, absent = elevation("int16", -9999)
    image = read_stored(encoded(values, "-9999 "))
    assert np.array_equal(image.values, values) and np.array_equal(image.absent[..., 0], absent)
    for text in ("-9998.5", "nan", "none", ""):
        assert read_stored(encoded(values, text)).absent is None
