"""TIFF files of several pages: bands, or a document of which the first page is read."""

import io
from functools import partial

import numpy as np
import pytest
import tifffile
from PIL import Image

from maskmim.data import folder
from maskmim.data.decode import as_stored, decode, picture, read_stored, scaled
from maskmim.data.image_check import range_remarks
from maskmim.data.image_stats import ImageStats, measure
from maskmim.data.records import BadImage
from maskmim.data.stats_report import flags
from maskmim.data.tiff_header import unread_pages
from tests.data import files
from tests.data.deep_files import numbers

RNG = np.random.default_rng(0)


def paged(pages, **options):
    """Return a TIFF file with one page for each of some arrays."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        for page in pages:
            colours = "rgb" if page.ndim == 3 else "minisblack"
            file.write(page, **({"photometric": colours, "metadata": None} | options))
    return stream.getvalue()


def by_pillow(pages):
    stream = io.BytesIO()
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(stream, "TIFF", save_all=True, append_images=others)
    return stream.getvalue()


@pytest.mark.parametrize("write", [paged, by_pillow])
@pytest.mark.parametrize("count", [2, 3, 4, 13])
def test_as_many_pages_as_channels_are_bands(count, write):
    pages = numbers("uint8", (count, 10, 8))
    expected = np.moveaxis(pages, 0, -1)
    assert np.array_equal(decode(write(pages), channels=count), expected)
    assert np.array_equal(as_stored(RNG, write(pages), channels=count), expected)
    assert np.array_equal(read_stored(write(pages)).values, expected)


@pytest.mark.parametrize("count", [3, 4, 13])
def test_signed_pages_are_numbers(count):
    pages = numbers("int8", (count, 10, 8))
    assert np.array_equal(as_stored(RNG, paged(pages), channels=count), np.moveaxis(pages, 0, -1))
    for channels in {1, 3, 4, 13} - {count}:
        with pytest.raises(BadImage, match=f"{count} bands, but input.channels is {channels}"):
            decode(paged(pages), channels=channels)


def test_a_document_is_its_first_page_and_never_with_made_up_channels():
    pages = numbers("uint8", (13, 10, 8))
    for channels in (1, 3):
        found = decode(paged(pages), channels=channels)
        assert np.array_equal(found, np.repeat(pages[0][..., None], channels, -1))
    for channels in (2, 4, 5):
        with pytest.raises(BadImage, match=f"13 bands, but input.channels is {channels}"):
            decode(paged(pages), channels=channels)


def test_pages_that_differ_in_size_are_a_document():
    pages = [numbers("uint8", (10, 8)), numbers("uint8", (12, 8)), numbers("uint8", (10, 8))]
    assert np.array_equal(decode(paged(pages), channels=3)[..., 2], pages[0])
    assert unread_pages(paged(pages), 3) == unread_pages(paged(pages), None) == 3


def test_pages_may_differ_in_compression():
    pages = numbers("uint8", (3, 10, 8))
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        for page, packing in zip(pages, (None, "zlib", None), strict=True):
            file.write(page, photometric="minisblack", metadata=None, compression=packing)
    assert np.array_equal(decode(stream.getvalue(), channels=3), np.moveaxis(pages, 0, -1))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_overviews_are_no_pages(dtype):
    image = numbers(dtype, (16, 12))
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        file.write(image, photometric="minisblack", metadata=None)
        file.write(image[::2, ::2], photometric="minisblack", metadata=None, subfiletype=1)
    encoded = stream.getvalue()
    assert np.array_equal(read_stored(encoded).values[..., 0], image)
    assert np.array_equal(as_stored(RNG, encoded, channels=1)[..., 0], image)
    assert unread_pages(encoded, 1) == 0


def test_pages_that_are_not_read_are_said_once(tmp_path):
    grey, colour = numbers("uint8", (13, 10, 8)), numbers("uint8", (2, 10, 8, 3))
    files.write(tmp_path / "grey", {f"{i}.tif": paged(grey) for i in range(3)})
    files.write(tmp_path / "colour", {"0.tif": paged(colour), "1.tif": paged(colour[:1])})
    for name, channels, count in (("grey", 1, 3), ("grey", 3, 3), ("colour", 3, 1)):
        records = folder.unlabelled(path=str(tmp_path / name))
        for read in (picture, scaled, as_stored, partial(picture, max_pixels=1000)):
            (line,) = range_remarks(records, read, channels)
            assert f"{count} sampled TIFF file" in line and "only the first page" in line
    assert range_remarks(folder.unlabelled(path=str(tmp_path / "grey")), picture, 13) == []


def test_stats_measure_pages_as_bands_and_say_so():
    stats = ImageStats()
    for seed in range(2):
        stats.add(measure(paged(numbers("uint8", (13, 10, 8), seed))))
    lines, remarks = flags(stats)
    assert lines[0] == "--config.input.channels=13" and stats.grey == 0
    assert len(remarks) == 1 and "2 files of 8 bits with several grey pages" in remarks[0]
    stats.add(measure(paged(numbers("uint8", (2, 10, 8, 3)))))
    assert any("1 file has several pages" in remark for remark in flags(stats)[1])
