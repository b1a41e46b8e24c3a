"""Maps of indices keep every number, whatever the file."""

import io

import numpy as np
import pytest
from PIL import Image

from maskmim.data.label_maps import label_map
from maskmim.data.no_class import UnknownClass
from maskmim.data.records import BadImage, DataError

RNG = np.random.default_rng(0)
INDICES = RNG.integers(0, 13, (7, 9), np.uint8)


def png(image, **options):
    file = io.BytesIO()
    image.save(file, options.pop("format", "PNG"), **options)
    return file.getvalue()


def palette(indices):
    image = Image.fromarray(indices, "P")
    image.putpalette(RNG.integers(0, 256, 768, np.uint8).tobytes())  # colours repeat: not inverted
    return image


def read(encoded, **options):
    return label_map(RNG, encoded, **options)


@pytest.mark.parametrize("kind", ["grey", "palette", "tiff", "palette tiff", "array", "column"])
def test_indices_stay_as_they_are(kind):
    stored = {
        "grey": lambda: png(Image.fromarray(INDICES)),
        "palette": lambda: png(palette(INDICES)),
        "tiff": lambda: png(Image.fromarray(INDICES), format="TIFF"),
        "palette tiff": lambda: png(palette(INDICES), format="TIFF"),
        "array": lambda: INDICES.astype(np.int64),
        "column": lambda: INDICES[..., None],
    }[kind]()
    made = read(stored)
    assert made.dtype == np.uint8 and made.shape == (7, 9, 1)
    np.testing.assert_array_equal(made[..., 0], INDICES)


def test_sixteen_bits_are_kept():
    wide = RNG.integers(0, 65536, (7, 9), np.uint16)
    made = read(png(Image.fromarray(wide)))
    assert made.dtype == np.int32
    np.testing.assert_array_equal(made[..., 0], wide)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("kind", [0, 3])  # grey and palette, as the header says
def test_few_bits_are_not_stretched(bits, kind):
    indices = RNG.integers(0, 2**bits, (5, 8), np.uint8)
    made = read(packed_png(indices, bits, kind))
    np.testing.assert_array_equal(made[..., 0], indices)


def packed_png(indices, bits, kind):
    """A PNG of 1, 2 or 4 bits, written by hand: Pillow writes no grey of 2 and 4."""
    import struct
    import zlib

    def chunk(name, content):
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    rows, columns = indices.shape
    places = (indices[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    lines = np.packbits(places.reshape(rows, -1), axis=1)
    body = b"".join(b"\0" + line.tobytes() for line in lines)
    header = struct.pack(">IIBBBBB", columns, rows, bits, kind, 0, 0, 0)
    parts = [chunk(b"IHDR", header)]
    parts += [chunk(b"PLTE", bytes(range(3 * 2**bits)))] if kind == 3 else []
    parts += [chunk(b"IDAT", zlib.compress(body)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_maps_stand_upright_as_their_pictures_do():
    exif = Image.Exif()
    exif[0x0112] = 6
    made = read(png(Image.fromarray(INDICES), exif=exif))
    np.testing.assert_array_equal(made[..., 0], np.rot90(INDICES, -1))


def test_indices_beyond_the_classes_are_a_sentence():
    file = png(Image.fromarray(np.array([[0, 3], [255, 2]], np.uint8)))
    assert read(file, classes=4, void=255).max() == 255
    with pytest.raises(UnknownClass, match=r"index 255, but its classes are 0 ... 3$"):
        read(file, classes=4)
    with pytest.raises(UnknownClass, match=r"index 3, but its classes are 0 ... 2$"):
        read(file, classes=3, void=255)


@pytest.mark.parametrize(
    ("encoded", "words"),
    [
        (b"", "empty file"),
        (png(Image.fromarray(np.zeros((4, 4, 3), np.uint8))), "mode RGB, not a map"),
        (png(Image.fromarray(INDICES), format="JPEG"), "not PNG or TIFF"),
        (png(Image.fromarray(INDICES))[:60], "trunc|broken|unrecognized|cannot|PNG"),
        (np.zeros((4, 4, 3), np.uint8), "expected indices"),
        (np.zeros((4, 4), np.float32), "expected indices"),
        (np.full((4, 4), -1), "classes count from 0"),
    ],
)
def test_what_is_no_map_is_a_bad_image(encoded, words):
    with pytest.raises(BadImage, match=words):
        read(encoded)


def test_a_map_has_one_channel():
    with pytest.raises(DataError, match="one channel, not 3"):
        label_map(RNG, INDICES, 3)
