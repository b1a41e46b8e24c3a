"""What is said before training of images that do not fit the range of their decoder."""

from functools import partial

import numpy as np
import pytest

from maskmim.data import folder
from maskmim.data.decode import as_stored, picture, scaled
from maskmim.data.image_check import check_same_scale, range_remarks
from maskmim.data.records import DataError
from tests.data import files
from tests.data.deep_files import numbers, png16, tiff


def remarks(folder_path, images, decode, channels=1):
    files.write(folder_path, {f"{i}.tif": image for i, image in enumerate(images)})
    return range_remarks(folder.unlabelled(path=str(folder_path)), decode, channels)


TWELVE = [tiff(numbers("uint16", (9, 7), seed) // 16) for seed in range(3)]


@pytest.mark.parametrize("decode", [picture, scaled, partial(picture, max_pixels=10**6)])
def test_less_than_a_tenth_of_the_range_is_said_once(decode, tmp_path):
    (line,) = remarks(tmp_path, TWELVE, decode)
    assert "3 sampled images of type uint16 use 6.17%" in line
    assert "the range 0 to 65535" in line and "python -m maskmim.stats" in line


@pytest.mark.parametrize(
    "decode",
    [partial(scaled, value_range=(0, 4095)), partial(picture, bits=12), partial(as_stored)],
)
def test_a_range_that_fits_needs_no_word(decode, tmp_path):
    assert remarks(tmp_path, TWELVE, decode) == []


def test_one_bright_pixel_is_no_contrast(tmp_path):
    dark = np.zeros((100, 100), np.uint16)
    dark[0, 0] = 65535
    assert "use 0.00% of the range" in remarks(tmp_path, [tiff(dark)], scaled)[0]


def test_values_beyond_the_range_and_nan_are_said(tmp_path):
    image = np.linspace(0, 4, 100, dtype=np.float32).reshape(10, 10)
    image[0, :5] = np.nan
    nan, outside = remarks(tmp_path, [tiff(image)], scaled)
    assert "0.05 of the pixels" in nan and "NaN" in nan
    assert "79% of the pixels" in outside and "outside 0 to 1" in outside


def test_ordinary_and_unreadable_images_are_passed_over(tmp_path):
    images = [files.encoded(files.picture(0), "PNG"), files.encoded(files.picture(0), "JPEG")]
    assert remarks(tmp_path, [*images, b"nothing", b""], picture, 3) == []
    assert (
        "1 sampled images"
        in remarks(tmp_path, [png16(numbers("uint16", (9, 7, 3)) // 20)], scaled, 3)[0]
    )


@pytest.mark.parametrize(
    "train, evals",
    [
        (partial(scaled, value_range=(0, 4095)), scaled),
        (partial(picture, bits=12), partial(picture, bits=10)),
        (scaled, as_stored),
    ],
)
def test_training_and_evaluation_scale_alike(train, evals):
    with pytest.raises(DataError, match="give both the same"):
        check_same_scale(train, evals)


def test_decoders_that_scale_alike_pass():
    check_same_scale(partial(picture, bits=12), partial(picture, value_range=(0, 4095)))
    check_same_scale(partial(picture, bits=12), partial(scaled, value_range=(0, 4095)))
    check_same_scale(picture, lambda rng, encoded: None)
