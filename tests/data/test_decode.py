import io
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageOps

from maskmim.data.decode import decode
from maskmim.data.records import BadImage
from tests.data import files

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def by_pillow(encoded: bytes, channels: int) -> np.ndarray:
    """An oracle that goes another way: Pillow's own rotation, 16 bits by division."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    pixels = np.asarray(image.convert(MODES[channels]))
    return pixels.reshape(*pixels.shape[:2], channels)


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", sorted(files.odd_files()))
def test_odd_files_decode_as_pillow_does(name, channels):
    encoded = files.odd_files()[name]
    pixels = decode(encoded, channels=channels)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    # libjpeg-turbo's luminance against Pillow's conversion of RGB to grey: they round differently.
    tolerance = 3 if name.endswith(".jpg") and channels == 1 else 0
    expected = by_pillow(encoded, channels)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance


def test_sixteen_bits_keep_their_range():
    grey = np.array([[0, 257, 32896, 65535]], np.uint16)
    pixels = decode(files.encoded(Image.fromarray(grey), "PNG"), channels=1)
    assert pixels[..., 0].tolist() == [[0, 1, 128, 255]]


@pytest.mark.parametrize("top, expected", [(1.0, [0, 64, 255]), (255.0, [0, 255, 255])])
def test_floating_point_is_a_share_of_one(top, expected):
    values = np.array([[0, 0.25 * top, top]], np.float32)
    pixels = decode(files.encoded(Image.fromarray(values), "TIFF"), channels=1)
    assert pixels[0, :, 0].tolist() == expected


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_exif_orientation(kind, orientation):
    options = {"PNG": {}, "TIFF": {}, "JPEG": {"quality": 95}, "WEBP": {"lossless": True}}[kind]
    encoded = files.encoded(files.picture(1), kind, exif=files.exif(orientation), **options)
    assert np.array_equal(decode(encoded), by_pillow(encoded, 3))
    assert decode(encoded).shape == ((30, 20, 3) if orientation > 4 else (20, 30, 3))


def test_the_first_frame_counts():
    first = decode(files.odd_files()["animated.webp"])
    assert np.array_equal(first, files.picture(6))


@pytest.mark.parametrize("name", sorted(files.bad_files()))
def test_unreadable_files_are_bad_images(name):
    with pytest.raises(BadImage) as caught:
        decode(files.bad_files()[name])
    assert caught.value.reason and "\n" not in caught.value.reason


def test_every_truncation_is_noticed():
    jpeg = files.encoded(files.picture(2), "JPEG", quality=95)
    for end in range(0, len(jpeg) - 40, 37):
        with pytest.raises(BadImage):
            decode(jpeg[:end])


def test_a_huge_picture_is_refused_at_once_and_in_little_memory():
    bomb = files.png_header_bomb(50_000)
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(BadImage, match="more pixels than the limit"):
        decode(bomb)
    seconds = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 0.1
    assert peak < 4e6


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_limit_on_pixels_is_exact(kind):
    encoded = files.encoded(files.picture(3), kind)
    assert decode(encoded, max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(BadImage, match="limit of 599"):
        decode(encoded, max_pixels=599)


def test_damaged_exif_does_not_spoil_good_pixels():
    good = files.encoded(files.picture(1), "JPEG", exif=files.exif(6))
    start = good.index(b"Exif\0\0") + 6
    broken = good[:start] + b"\xff" * 8 + good[start + 8 :]
    assert decode(broken).shape == (20, 30, 3)


def test_arrays_pass_with_any_number_of_channels():
    pixels = np.zeros((4, 5, 13), np.uint8)
    assert decode(pixels, channels=13) is pixels
    with pytest.raises(BadImage, match="13 channels, expected 3"):
        decode(pixels, channels=3)
    with pytest.raises(BadImage, match="float32"):
        decode(pixels.astype(np.float32), channels=13)


def test_files_cannot_give_five_channels():
    with pytest.raises(BadImage, match=r"1, 3 or 4 channels, but input\.channels is 5"):
        decode(files.odd_files()["plain.bmp"], channels=5)


@pytest.mark.parametrize("least, shape", [(0, 400), (401, 400), (201, 400), (200, 200), (99, 100)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_large_jpegs_can_be_decoded_smaller(least, shape, orientation):
    large = files.picture(2, (401, 640, 3))
    encoded = files.encoded(large, "JPEG", quality=95, exif=files.exif(orientation))
    pixels = decode(encoded, short_side=least)
    sides = (min(pixels.shape[:2]), max(pixels.shape[:2]))
    factor = round(400 / shape)
    assert sides == (-(-401 // factor), 640 // factor)
    assert (pixels.shape[0] > pixels.shape[1]) == (orientation == 6)
    # Against the full size reduced by averaging: the same picture up to rounding and edges.
    whole = decode(encoded)[: 400 if orientation == 1 else 640, : 640 if orientation == 1 else 400]
    rows, columns = (side // factor for side in whole.shape[:2])
    averaged = whole.reshape(rows, factor, columns, factor, 3).mean((1, 3))
    start = pixels.shape[1] - columns if orientation == 6 else 0
    assert np.abs(pixels[:rows, start:] - averaged).mean() < 1.5


def test_only_jpegs_are_decoded_smaller_and_grey_ones_too():
    picture = files.picture(2, (400, 640, 3))
    assert decode(files.encoded(picture, "PNG"), short_side=100).shape == (400, 640, 3)
    grey = files.encoded(picture[..., 0], "JPEG")
    assert decode(grey, channels=1, short_side=100).shape == (100, 160, 1)
