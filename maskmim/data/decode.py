"""Decoding of image files to pixels: 8-bit levels, numbers in [0, 1], or numbers as stored."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError, features

from maskmim.config.ranges import Bits, NonNegativeInt, PositiveInt, ValueRange
from maskmim.data.deep_images import (
    Stored,
    fit_channels,
    from_pillow,
    orientation_of,
    read_deep,
    scale,
    stored,
)
from maskmim.data.geometry import check_size, undo_orientation
from maskmim.data.records import BadImage, DataError
from maskmim.errors import count_of

# Pillow warns about large files; this module checks the size itself.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

MAX_PIXELS = 178_956_970 // 2
# The formats that Pillow may try, whatever a file's name: PostScript would start Ghostscript.
FORMATS = ("PNG", "TIFF", "GIF", "BMP", "DIB", "WEBP", "JPEG", "PPM", "QOI", "SGI", "PCX")
# Those whose libraries Pillow may lack; TGA is last, as it has no mark that tells it from others.
_LIBRARIES = (("AVIF", "avif"), ("JPEG2000", "jpg_2000"))
FORMATS += tuple(name for name, library in _LIBRARIES if features.check(library))
FORMATS += ("TGA",)
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_JPEG_COLOURS = {1: "GRAY", 3: "RGB", 4: "RGBA"}
_EXIF_HOLDERS = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}

Limits = tuple[float, float]


def picture(
    rng: np.random.Generator,
    encoded: bytes | np.ndarray,
    channels: PositiveInt = 3,
    *,
    max_pixels: PositiveInt = MAX_PIXELS,
    short_side: NonNegativeInt = 0,
    value_range: ValueRange | None = None,
    bits: Bits | None = None,
) -> np.ndarray:
    """Return the pixels of an image file as u8: `decode` as a brick for `data.decode`, not random.

    For input.dtype 'uint8'. Values of more than 8 bits are rounded to 256 levels: `scaled` keeps
    them.
    """
    return decode(
        encoded,
        channels=channels,
        max_pixels=max_pixels,
        short_side=short_side,
        value_range=value_range,
        bits=bits,
    )


def scaled(
    rng: np.random.Generator,
    encoded: bytes | np.ndarray,
    channels: PositiveInt = 3,
    *,
    max_pixels: PositiveInt = MAX_PIXELS,
    value_range: ValueRange | None = None,
    bits: Bits | None = None,
) -> np.ndarray:
    """Return the pixels of an image file in [0, 1] with their full precision, f32[H, W, channels].

    For input.dtype 'float32'; input.mean and input.std are those of values in [0, 1]. Scales as
    `decode` does, without rounding; pixels passed as an array may be of any type of numbers.
    """
    limits = limits_of(value_range, bits)
    image = _stored(encoded, channels, max_pixels)
    narrow = image.values.dtype == np.uint8
    return scale(image, channels, None if narrow else limits).astype(np.float32)


def as_stored(
    rng: np.random.Generator,
    encoded: bytes | np.ndarray,
    channels: PositiveInt = 3,
    *,
    max_pixels: PositiveInt = MAX_PIXELS,
) -> np.ndarray:
    """Return the numbers of an image file as they are, without scaling, f32[H, W, channels].

    For input.dtype 'float32' and physical units, such as degrees or reflectance; input.mean and
    input.std are in these units. An image of 8 bits has its levels 0 ... 255.
    Raises BadImage also where a pixel is NaN, infinite or no data: one could make a loss NaN.
    """
    image = _stored(encoded, channels, max_pixels)
    values = fit_channels(image, channels, opaque=image.limits[1]).astype(np.float32)
    share = 1 - np.isfinite(values).mean()
    if share:
        raise BadImage(
            f"{share:.2%} of the pixels are NaN, infinite, no data or beyond float32: "
            "maskmim.data.decode.scaled clips them to a value_range"
        )
    return values


def decode(
    encoded: bytes | np.ndarray,
    *,
    channels: int = 3,
    max_pixels: int = MAX_PIXELS,
    short_side: int = 0,
    value_range: ValueRange | None = None,
    bits: Bits | None = None,
) -> np.ndarray:
    """Return the pixels of an image file, upright: bytes -> u8[H, W, channels].

    encoded:    JPEG, PNG, WebP, BMP, TIFF, GIF (its first frame) and the other FORMATS, in any
                colour mode, or pixels u8[H, W, C], which are returned unchanged.
    channels:   1 grey, 3 RGB, 4 RGBA. With fewer than 4, alpha is dropped, not blended (as in
                torchvision's loader). TIFF files and arrays may have any number of bands; bands
                that are not grey, RGB and alpha are never converted, repeated or left out.
    max_pixels: limit on H * W, checked in the header before any pixel is decoded; Pillow's own
                limit, twice the default, applies too.
    short_side: JPEG files are decoded at a half, a quarter or an eighth of their size where their
                short side keeps at least this length: faster for large photographs, with pixels
                that differ slightly from a reduction of the full size. 0: always at full size.
    value_range: (low, high) of the data set; values of more than 8 bits are mapped from it to
                0 ... 255 and clipped. `python -m maskmim.stats` measures it. None for the full
                range of the type: 0 ... 65535 for uint16, -32768 ... 32767 for int16, 0 ... 1 for
                floating point. The range never depends on the image. 8-bit images keep their
                levels.
    bits:       the same as value_range=(0, 2^bits - 1), such as 12 for 12 bits stored in 16.
    NaN becomes the low end of the range, and so does the number for no data of a TIFF file
    (GDAL's tag); infinities are clipped.

    Raises BadImage where the file cannot be read: empty, truncated, too large, not an image, all
    NaN, or with another number of bands; DataError for a range that is none, and where a TIFF file
    needs tifffile, which is not installed.
    """
    limits = limits_of(value_range, bits)
    if isinstance(encoded, np.ndarray):
        return _check_array(encoded, channels)
    if not encoded:
        raise BadImage("empty file")
    with bad_images(max_pixels):
        if encoded[:3] == b"\xff\xd8\xff" and channels in _MODES:
            pixels = _decode_jpeg(encoded, channels, max_pixels, short_side)
            if pixels is not None:
                return pixels
        return _decode_any_format(encoded, channels, max_pixels, limits)


def read_stored(encoded: bytes | np.ndarray, *, max_pixels: int = MAX_PIXELS) -> Stored:
    """Return an image as its file stores it, with as many channels as it has.

    Images of 8 bits in palette, CMYK and the like are converted to RGB; alpha is kept. Raises as
    `decode` does.
    """
    image = read_deep_image(encoded, None, max_pixels)
    if image is not None:
        return image
    with bad_images(max_pixels), Image.open(io.BytesIO(encoded), formats=FORMATS) as opened:
        grey = opened.mode in ("1", "L", "LA", "La")
        alpha = opened.mode in ("LA", "RGBA", "PA") or "transparency" in opened.info
    pixels = decode(encoded, channels=4 if alpha else 1 if grey else 3, max_pixels=max_pixels)
    pixels = pixels[..., [0, 3]] if grey and alpha else pixels
    return stored(pixels, colours=1 if grey else 3, alpha=alpha)


def _stored(encoded: bytes | np.ndarray, channels: int, max_pixels: int) -> Stored:
    """Return an image in full depth: ordinary ones of 8 bits with `channels` already."""
    image = read_deep_image(encoded, channels, max_pixels)
    if image is not None:
        return image
    return stored(decode(encoded, channels=channels, max_pixels=max_pixels), colours=0)


def read_deep_image(
    encoded: bytes | np.ndarray, channels: int | None, max_pixels: int = MAX_PIXELS
) -> Stored | None:
    """Return an array, or an image of more than 8 bits or of bands; None for any other image.

    channels: as of `read_deep`. Raises as `decode` does.
    """
    if isinstance(encoded, np.ndarray):
        return _from_array(encoded)
    if not encoded:
        raise BadImage("empty file")
    with bad_images(max_pixels):
        return _read_if_deep(encoded, channels, max_pixels)


@contextlib.contextmanager
def bad_images(max_pixels: int) -> Iterator[None]:
    """Raise BadImage for whatever a decoder raises: almost anything, on malformed files."""
    try:
        yield
    except (BadImage, DataError):
        raise
    except Exception as error:
        raise BadImage(_describe_error(error, max_pixels)) from error


def _read_if_deep(encoded: bytes, channels: int | None, max_pixels: int) -> Stored | None:
    """Return `read_deep`, or an image that Pillow holds in more than 8 bits; None for others."""
    if encoded[:3] == b"\xff\xd8\xff":
        return None
    deep = read_deep(encoded, channels=channels, max_pixels=max_pixels)
    if deep is not None:
        return deep
    with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
        check_size(*image.size, max_pixels)
        return from_pillow(image, encoded) if _is_deep(image) else None


def _from_array(values: np.ndarray) -> Stored:
    if values.ndim != 3 or 0 in values.shape or values.dtype.kind not in "iuf":
        raise BadImage(
            f"expected numbers [H, W, C], got an array {values.dtype}{list(values.shape)}"
        )
    return stored(values, colours=0)


def limits_of(value_range: Limits | None, bits: int | None) -> Limits | None:
    """Return the range of values that a decoder maps to black and white; None for the type's."""
    if bits is not None:
        if value_range is not None:
            raise DataError("value_range and bits say the same thing: give one of them")
        if not 1 <= bits <= 32:
            raise DataError(f"bits={bits}: give the number of bits in use, 1 to 32")
        return 0.0, 2.0**bits - 1
    if value_range is None:
        return None
    fits = len(value_range) == 2 and all(math.isfinite(value) for value in value_range)
    if not fits or not value_range[0] < value_range[1]:
        raise DataError(
            f"value_range={tuple(value_range)}: give the values of black and of white, such as "
            "0,4095; the first must be smaller"
        )
    return value_range


def _check_array(pixels: np.ndarray, channels: int) -> np.ndarray:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or 0 in pixels.shape:
        raise BadImage(f"expected pixels u8[H, W, C], got {pixels.dtype}{list(pixels.shape)}")
    if pixels.shape[-1] != channels:
        raise BadImage(f"{count_of(pixels.shape[-1], 'channel')}, expected {channels}")
    return pixels


def _decode_jpeg(
    encoded: bytes, channels: int, max_pixels: int, short_side: int
) -> np.ndarray | None:
    """Return the pixels of a JPEG file by libjpeg-turbo; None where Pillow must decode it."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded)
        check_size(width, height, max_pixels)
        if colours in ("CMYK", "YCCK"):
            return None
        factor = _shrink_factor(min(height, width), short_side)
        pixels = simplejpeg.decode_jpeg(
            encoded,
            colorspace=_JPEG_COLOURS[channels],
            min_height=-(-height // factor),
            min_width=-(-width // factor),
        )
    except ValueError:
        return None
    if encoded.find(b"Exif\0\0", 0, 65536) >= 0:
        with Image.open(io.BytesIO(encoded), formats=("JPEG", "MPO")) as header:
            pixels = undo_orientation(pixels, _orientation(header))
    return pixels


def _shrink_factor(side: int, least: int) -> int:
    """Return the largest of 1, 2, 4, 8 that leaves a side at least `least` long; 1 for least 0."""
    return max((factor for factor in (1, 2, 4, 8) if side >= factor * least > 0), default=1)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) where EXIF is absent or damaged."""
    if _EXIF_HOLDERS.isdisjoint(image.info):  # getexif takes as long as decoding a small picture
        return 1
    return orientation_of(image)


def _decode_any_format(
    encoded: bytes, channels: int, max_pixels: int, limits: Limits | None
) -> np.ndarray:
    deep = read_deep(encoded, channels=channels, max_pixels=max_pixels)
    if deep is not None:
        return _to_levels(deep, channels, limits)
    if channels not in _MODES:
        raise BadImage(f"a file of 1, 3 or 4 channels, but input.channels is {channels}")
    mode = _MODES[channels]
    webp = encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP"
    # Pillow tries one format after the other: naming WebP saves time on small pictures.
    with Image.open(io.BytesIO(encoded), formats=("WEBP",) if webp else FORMATS) as image:
        check_size(*image.size, max_pixels)
        image.load()
        # After loading: PNG may store EXIF after the pixels, and Pillow turns TIFF upright itself.
        orientation = _orientation(image)
        if _is_deep(image):
            deep = from_pillow(image, encoded)
            return undo_orientation(_to_levels(deep, channels, limits), orientation)
        converted = _without_palette(image)
        pixels = np.asarray(converted if converted.mode == mode else converted.convert(mode))
    if 0 in pixels.shape:
        raise BadImage("no pixels")
    return undo_orientation(pixels.reshape(*pixels.shape[:2], channels), orientation)


def _is_deep(image: Image.Image) -> bool:
    """Return whether Pillow holds more than 8 bits of a pixel."""
    return image.mode.startswith("I") or image.mode == "F"


def _without_palette(image: Image.Image) -> Image.Image:
    """Return the image in a mode that Pillow converts correctly to L, RGB and RGBA."""
    if image.mode in ("P", "PA") and "transparency" in image.info:
        return image.convert("RGBA")
    return image


def _to_levels(image: Stored, channels: int, limits: Limits | None) -> np.ndarray:
    """Return an image scaled from limits to levels u8[H, W, channels]; 8-bit levels unchanged."""
    narrow = image.values.dtype == np.uint8
    if narrow and image.absent is None:
        return np.ascontiguousarray(fit_channels(image, channels, 255).astype(np.uint8))
    scaled_values = scale(image, channels, None if narrow else limits)
    return np.rint(scaled_values * 255).astype(np.uint8)


def _describe_error(error: Exception, max_pixels: int) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or in a format that Pillow cannot read"
    if isinstance(error, Image.DecompressionBombError):
        return f"more pixels than the limit of {max_pixels}"
    return " ".join(str(error).split())[:200] or type(error).__name__
