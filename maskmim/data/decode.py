"""Decoding of image files to pixels."""

from __future__ import annotations

import io
import warnings

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from maskmim.data.records import BadImage, DataError

# Pillow warns about large files; this module checks the size itself.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

MAX_PIXELS = 178_956_970 // 2
# The formats that Pillow may try, whatever a file's name: PostScript would start Ghostscript.
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
    """Return the pixels of an image file: `decode` as a brick for `data.decode`, not random."""
    return decode(encoded, channels=channels, max_pixels=max_pixels, short_side=short_side)


def decode(
    encoded: bytes | np.ndarray,
    *,
    channels: int = 3,
    max_pixels: int = MAX_PIXELS,
    short_side: int = 0,
) -> np.ndarray:
    """Return the pixels of an image file, upright: bytes -> u8[H, W, channels].

    encoded:    JPEG, PNG, WebP, BMP, TIFF, GIF (its first frame) in any colour mode, or pixels
                u8[H, W, C], which are returned unchanged.
    channels:   1 grey, 3 RGB, 4 RGBA. With fewer than 4, alpha is dropped, not blended (as in
                torchvision's loader); pixels passed as an array may have any number.
    max_pixels: limit on H * W, checked in the header before any pixel is decoded; Pillow's own
                limit, twice the default, applies too.
    short_side: JPEG files are decoded at a half, a quarter or an eighth of their size where their
                short side keeps at least this length: faster for large photographs, with pixels
                that differ slightly from a reduction of the full size. 0: always at full size.
    16-bit grey is scaled to 8 bits (65535 becomes 255); floating point in [0, 1] is stretched to
    [0, 255], other floating point is clipped.

    Raises BadImage where the file cannot be read: empty, truncated, too large, not an image, or an
    array with another number of channels; DataError for a file where channels is not 1, 3 or 4.
    """
    if isinstance(encoded, np.ndarray):
        return _check_array(encoded, channels)
    if channels not in _MODES:
        raise DataError(f"image files give 1, 3 or 4 channels, not {channels}: set input.channels")
    if not encoded:
        raise BadImage("empty file")
    try:
        if encoded[:3] == b"\xff\xd8\xff":
            pixels = _decode_jpeg(encoded, channels, max_pixels, short_side)
            if pixels is not None:
                return pixels
        return _decode_any_format(encoded, channels, max_pixels)
    except BadImage:
        raise
    except Exception as error:  # decoders raise almost anything on malformed files
        raise BadImage(_describe_error(error, max_pixels)) from error


def _check_array(pixels: np.ndarray, channels: int) -> np.ndarray:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or 0 in pixels.shape:
        raise BadImage(f"expected pixels u8[H, W, C], got {pixels.dtype}{list(pixels.shape)}")
    if pixels.shape[-1] != channels:
        raise BadImage(f"{pixels.shape[-1]} channels, expected {channels}")
    return pixels


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise BadImage(f"{width} x {height} pixels are more than the limit of {max_pixels}")


def _decode_jpeg(
    encoded: bytes, channels: int, max_pixels: int, short_side: int
) -> np.ndarray | None:
    """Return the pixels of a JPEG file by libjpeg-turbo; None where Pillow must decode it."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded)
        _check_size(width, height, max_pixels)
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
            pixels = _undo_orientation(pixels, _orientation(header))
    return pixels


def _shrink_factor(side: int, least: int) -> int:
    """Return the largest of 1, 2, 4, 8 that leaves a side at least `least` long; 1 for least 0."""
    return max((factor for factor in (1, 2, 4, 8) if side >= factor * least > 0), default=1)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) where EXIF is absent or damaged."""
    if _EXIF_HOLDERS.isdisjoint(image.info):  # getexif takes as long as decoding a small picture
        return 1
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF beside good pixels; Pillow raises many kinds
        return 1


def _undo_orientation(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation, 1 to 8 (anything else: unchanged)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _decode_any_format(encoded: bytes, channels: int, max_pixels: int) -> np.ndarray:
    mode = _MODES[channels]
    webp = encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP"
    # Pillow tries one format after the other: naming WebP saves time on small pictures.
    with Image.open(io.BytesIO(encoded), formats=("WEBP",) if webp else FORMATS) as image:
        _check_size(*image.size, max_pixels)
        image.load()
        # After loading: PNG may store EXIF after the pixels, and Pillow turns TIFF upright itself.
        orientation = _orientation(image)
        converted = _to_eight_bit(image)
        pixels = np.asarray(converted if converted.mode == mode else converted.convert(mode))
    if 0 in pixels.shape:
        raise BadImage("no pixels")
    return _undo_orientation(pixels.reshape(*pixels.shape[:2], channels), orientation)


def _to_eight_bit(image: Image.Image) -> Image.Image:
    """Return the image in a mode that Pillow converts correctly to L, RGB and RGBA."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_grey_to_eight_bit(np.asarray(image)))
    if image.mode in ("P", "PA") and "transparency" in image.info:
        return image.convert("RGBA")
    return image


def _grey_to_eight_bit(values: np.ndarray) -> np.ndarray:
    """Convert grey values, integers of 16 or 32 bits or floating point, to u8[H, W]."""
    if values.dtype.kind == "f":
        values = np.nan_to_num(values)
        scale = 255.0 if values.max() <= 1 else 1.0
    else:
        scale = 255 / 65535 if values.max() <= 65535 else 255 / (2**32 - 1)
    return np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)


def _describe_error(error: Exception, max_pixels: int) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or in a format that Pillow cannot read"
    if isinstance(error, Image.DecompressionBombError):
        return f"more pixels than the limit of {max_pixels}"
    return " ".join(str(error).split())[:200] or type(error).__name__
