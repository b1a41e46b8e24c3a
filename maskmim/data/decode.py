"""From the bytes of an image file to pixels."""

from __future__ import annotations

import io
import warnings

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from maskmim.data.records import BadImage, DataError

# Pillow warns of files that it opens above its own limit; whether they are too large is said here.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

MAX_PIXELS = 178_956_970 // 2
# What Pillow may try, whatever a file is called: for PostScript it would start Ghostscript.
FORMATS = ("PNG", "TIFF", "GIF", "BMP", "WEBP", "JPEG")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_JPEG_COLOURS = {1: "GRAY", 3: "RGB", 4: "RGBA"}
_ORIENTATION = 0x0112
_EXIF_HOLDERS = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}


def picture(
    rng: np.random.Generator,
    encoded: bytes | np.ndarray,
    *,
    channels: int = 3,
    max_pixels: int = MAX_PIXELS,
    short_side: int = 0,
) -> np.ndarray:
    """`decode` as the brick that `data.decode` names; nothing is random in it."""
    return decode(encoded, channels=channels, max_pixels=max_pixels, short_side=short_side)


def decode(
    encoded: bytes | np.ndarray,
    *,
    channels: int = 3,
    max_pixels: int = MAX_PIXELS,
    short_side: int = 0,
) -> np.ndarray:
    """The pixels of an image file, upright: bytes -> u8[H, W, channels].

    encoded:    JPEG, PNG, WebP, BMP, TIFF, GIF (its first frame) in any colour mode, or pixels
                u8[H, W, C], which pass unchanged.
    channels:   1 grey, 3 RGB, 4 RGBA. Alpha is dropped, not blended, for fewer (as torchvision's
                loader does); pixels that are given as an array may have any number.
    max_pixels: limit on H * W, checked on the header before any pixel is decoded; Pillow's own
                limit, twice the default, holds besides.
    short_side: JPEG files are decoded at a half, a quarter or an eighth of their size where their
                short side stays at least so long: faster for large photographs, with pixels that
                differ a little from those of the full size reduced. 0: always at full size.
    16-bit grey keeps its upper 8 bits' range (65535 becomes 255); floating point in [0, 1] is
    stretched to [0, 255], other floating point is clipped.

    Raises BadImage for whatever cannot be read: empty, truncated, too large, not an image, an array
    with another number of channels; DataError where files are asked for with channels not 1, 3, 4.
    """
    if isinstance(encoded, np.ndarray):
        return _checked_array(encoded, channels)
    if channels not in _MODES:
        raise DataError(f"image files give 1, 3 or 4 channels, not {channels}: set input.channels")
    if not encoded:
        raise BadImage("empty file")
    try:
        if encoded[:3] == b"\xff\xd8\xff":
            pixels = _jpeg(encoded, channels, max_pixels, short_side)
            if pixels is not None:
                return pixels
        return _any_format(encoded, channels, max_pixels)
    except BadImage:
        raise
    except Exception as error:  # decoders raise almost anything on malformed files
        raise BadImage(_reason(error, max_pixels)) from error


def _checked_array(pixels: np.ndarray, channels: int) -> np.ndarray:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or 0 in pixels.shape:
        raise BadImage(f"pixels u8[H, W, C] expected, got {pixels.dtype}{list(pixels.shape)}")
    if pixels.shape[-1] != channels:
        raise BadImage(f"{pixels.shape[-1]} channels, {channels} asked")
    return pixels


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise BadImage(f"{width} x {height} pixels are more than the limit of {max_pixels}")


def _jpeg(encoded: bytes, channels: int, max_pixels: int, short_side: int) -> np.ndarray | None:
    """Pixels of a JPEG file by libjpeg-turbo; None where Pillow must decide."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded)
        _check_size(width, height, max_pixels)
        if colours in ("CMYK", "YCCK"):
            return None
        factor = _shrinking(min(height, width), short_side)
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
            pixels = _upright(pixels, _orientation(header))
    return pixels


def _shrinking(side: int, least: int) -> int:
    """By how much a side can be divided, 1, 2, 4 or 8, and be at least so long; 1 for least 0."""
    return max((factor for factor in (1, 2, 4, 8) if side >= factor * least > 0), default=1)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where there is none or EXIF is damaged."""
    if _EXIF_HOLDERS.isdisjoint(image.info):  # getexif takes as long as decoding a small picture
        return 1
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF beside good pixels; Pillow raises many kinds
        return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an EXIF orientation, 1 to 8 (anything else: unchanged)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _any_format(encoded: bytes, channels: int, max_pixels: int) -> np.ndarray:
    mode = _MODES[channels]
    webp = encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP"
    # Pillow tries one format after the other: name the one that small pictures come in.
    with Image.open(io.BytesIO(encoded), formats=("WEBP",) if webp else FORMATS) as image:
        _check_size(*image.size, max_pixels)
        image.load()
        # After loading: PNG may keep EXIF behind the pixels, and TIFF turns itself upright.
        orientation = _orientation(image)
        shallow = _eight_bit(image)
        pixels = np.asarray(shallow if shallow.mode == mode else shallow.convert(mode))
    if 0 in pixels.shape:
        raise BadImage("no pixels")
    return _upright(pixels.reshape(*pixels.shape[:2], channels), orientation)


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image in a mode that Pillow converts to L, RGB and RGBA without loss of meaning."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_grey_to_eight_bit(np.asarray(image)))
    if image.mode in ("P", "PA") and "transparency" in image.info:
        return image.convert("RGBA")
    return image


def _grey_to_eight_bit(values: np.ndarray) -> np.ndarray:
    """Deep grey values to u8[H, W]: integers of 16 or 32 bits, or floating point."""
    if values.dtype.kind == "f":
        values = np.nan_to_num(values)
        scale = 255.0 if values.max() <= 1 else 1.0
    else:
        scale = 255 / 65535 if values.max() <= 65535 else 255 / (2**32 - 1)
    return np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)


def _reason(error: Exception, max_pixels: int) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or of a kind that Pillow cannot read"
    if isinstance(error, Image.DecompressionBombError):
        return f"more pixels than the limit of {max_pixels}"
    return " ".join(str(error).split())[:200] or type(error).__name__
