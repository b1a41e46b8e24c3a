"""Images of more than 8 bits or of other channels than grey and RGB, read without loss.

PNG of 16 bits and TIFF of any type and any number of bands. Pillow reads those of one grey channel;
the rest of TIFF needs tifffile. 8-bit images in grey, RGB and their like are `decode`'s.
"""

from __future__ import annotations

import io
import re
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from maskmim.data.extras import import_extra
from maskmim.data.geometry import check_size, undo_orientation
from maskmim.data.records import BadImage
from maskmim.data.tiff_header import (
    BLACK_IS_ZERO,
    FLOATING,
    PALETTE,
    REDUCED_OR_MASK,
    RGB,
    SIGNED,
    TIFF,
    UNSIGNED,
    WHITE_IS_ZERO,
    TiffHeader,
    pages_are_bands,
    read_header,
)

PNG = b"\x89PNG\r\n\x1a\n"
# Decoding of 16-bit colours to their upper and their lower bytes, by Pillow's raw modes.
PNG_COLOURS = {2: ("RGB", "RGB;16B", "RGB;16L"), 6: ("RGBA", "RGBA;16B", "RGBA;16L")}
INKS = (5, 6, 8)  # CMYK, YCbCr and Lab, which Pillow converts through 8 bits, or refuses.
PREMULTIPLIED = 1
LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow's conversion to grey.


class Stored(NamedTuple):
    """An image as its file stores it.

    values:  numbers [H, W, C], upright, in the byte order of this machine.
    limits:  the least and the largest value of its type or its header, (0, 1) for floating point.
    colours: 1 for grey, 3 for RGB, 0 for bands that are neither.
    alpha:   whether the last channel is alpha.
    kind:    the type in words, 'uint16'.
    absent:  bool[H, W, C], True for integers that stand for no data; None where there are none.
             In floating point they are NaN.
    """

    values: np.ndarray
    limits: tuple[float, float]
    colours: int
    alpha: bool
    kind: str
    absent: np.ndarray | None = None

    @property
    def numbers(self) -> np.ndarray:
        """The values, with NaN for no data: f64[H, W, C] where there is any."""
        if self.absent is None:
            return self.values
        return np.where(self.absent, np.nan, self.values.astype(np.float64))


def full_range(kind: str) -> tuple[float, float]:
    """Return the least and the largest value of a type; (0, 1) for floating point."""
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return 0.0, 1.0
    if dtype.kind not in "iu":
        raise BadImage(f"pixels of type {kind}; use whole or real numbers")
    return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)


def stored(values: np.ndarray, *, colours: int, alpha: bool = False, bits: int = 0) -> Stored:
    """Return values [H, W, C] as `Stored`; bits: of unsigned integers in a larger type."""
    kind = values.dtype.newbyteorder("=")
    limits = (0.0, 2.0**bits - 1) if bits else full_range(kind.name)
    return Stored(np.asarray(values, kind), limits, colours, alpha, kind.name)


def read_deep(encoded: bytes, *, channels: int | None, max_pixels: int) -> Stored | None:
    """Return a PNG or TIFF file of more than 8 bits, or of bands; None for any other image.

    channels: expected, which tells bands in pages from separate pictures; None for any number.
    Raises BadImage where the file cannot be read or its pages are not `channels` bands, DataError
    where it needs tifffile and that is not installed.
    """
    if encoded[:8] == PNG:
        return _read_png(encoded, max_pixels) if encoded[24:25] == b"\x10" else None
    if encoded[:4] not in TIFF:
        return None
    header = read_header(encoded)
    stack = pages_are_bands(header, channels)
    if _is_ordinary(header) and not stack:
        return None
    check_size(*header.size, max_pixels)
    count = header.samples
    if channels and count > 1 and not header.colours and count != channels:
        raise BadImage(f"{count} bands, but input.channels is {channels}")
    if count * header.size[0] * header.size[1] > 4 * max_pixels:
        raise BadImage(f"more values than the limit of {4 * max_pixels}")
    if _pillow_is_exact(header) and not stack:
        image = _read_by_pillow(encoded, header)
    else:
        image = _read_by_tifffile(encoded, header, channels if stack else None, stack, max_pixels)
    return _plain(_mark_no_data(image, header.no_data), header)


def from_pillow(image: Image.Image, encoded: bytes) -> Stored:
    """Return an image of Pillow's modes I, I;16 and F; I is 16 bits wide, but in TIFF.

    Pillow stretches PGM and JPEG 2000 of 9 to 15 bits to 16: returns the numbers of the file.
    """
    values = np.asarray(image)[..., None]
    if image.mode == "F":
        return stored(values, colours=1)
    white = _white(image.format, encoded)
    whole = stored(values.astype(np.uint16), colours=1)
    if white == 65535:
        return whole
    values = values // (65536 // (white + 1)) if image.format == "JPEG2000" else values
    values = np.rint(values * (white / 65535)) if image.format == "PPM" else values
    return whole._replace(values=values.astype(np.uint16), limits=(0.0, float(white)))


def _white(kind: str | None, encoded: bytes) -> int:
    """Return the largest number that a file of 16 bits may hold, as its header says."""
    if kind == "PPM":
        return int(re.sub(rb"#[^\r\n]*", b"", encoded[:65536]).split(None, 4)[3])
    start = encoded.find(b"\xff\x4f\xff\x51")  # The size marker of JPEG 2000; bits at byte 42.
    if kind == "JPEG2000" and 0 <= start < len(encoded) - 42 and not encoded[start + 42] & 128:
        return 2 ** min(encoded[start + 42] + 1, 16) - 1
    return 65535


def fit_channels(image: Stored, channels: int, opaque: float) -> np.ndarray:
    """Return values [H, W, channels]: grey and RGB become each other, alpha is dropped or added.

    opaque: value of alpha where the file has none. Bands that are no colours are never converted.
    Raises BadImage, naming both numbers, where they do not become `channels`.
    """
    values = image.numbers
    count = values.shape[-1]
    if count == channels:
        return values
    if not image.colours or channels not in (1, 3, 4):
        raise BadImage(f"{count} bands, but input.channels is {channels}")
    colours = values[..., : image.colours]
    if channels == 1:
        return colours if image.colours == 1 else (colours @ LUMINANCE)[..., None]
    colours = colours if image.colours == 3 else np.repeat(colours, 3, axis=-1)
    if channels == 3:
        return colours
    alpha = values[..., -1:] if image.alpha else np.full_like(values[..., :1], opaque)
    return np.concatenate([colours, alpha], axis=-1)


def scale(image: Stored, channels: int, limits: tuple[float, float] | None) -> np.ndarray:
    """Return values f64[H, W, C] scaled from limits to [0, 1] and clipped; None: of the type.

    NaN and no data become 0; infinities are clipped as other values are.
    Raises BadImage where no pixel is finite.
    """
    low, high = limits or image.limits
    values = fit_channels(image, channels, opaque=image.limits[1]).astype(np.float64)
    check_finite(image)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.nan_to_num(np.clip((values - low) / (high - low), 0.0, 1.0), nan=0.0)


def check_finite(image: Stored) -> None:
    """Raise BadImage where no value beside alpha is a number."""
    values = image.numbers[..., : -1 if image.alpha else None]
    if values.size and values.dtype.kind == "f" and not np.isfinite(values).any():
        raise BadImage("no pixel is finite: all are NaN, infinite or no data")


def _read_png(encoded: bytes, max_pixels: int) -> Stored:
    """Return a PNG of 16 bits; colours are decoded twice, as Pillow keeps one byte of each."""
    with Image.open(io.BytesIO(encoded), formats=("PNG",)) as image:
        check_size(*image.size, max_pixels)
        kind = encoded[25]
        if kind == 0:
            values = np.asarray(image)[..., None]
        elif kind == 4:  # grey and alpha: four bytes, read as one number
            values = _raw(encoded, "I", "I;32B").view(np.uint32)[..., None].view(np.uint16)
            values = values[..., ::-1] if np.little_endian else values
        else:
            mode, upper, lower = PNG_COLOURS[kind]
            high = _raw(encoded, mode, upper).astype(np.uint16)
            values = high * np.uint16(256) + _raw(encoded, mode, lower)
        image.load()  # PNG may store EXIF after the pixels
        orientation = orientation_of(image)
    alpha = kind in (4, 6)
    values = undo_orientation(values, orientation)
    return stored(values, colours=values.shape[-1] - alpha, alpha=alpha)


def _raw(encoded: bytes, mode: str, raw_mode: str) -> np.ndarray:
    """Decode a PNG with another of Pillow's raw modes, of as many bits per pixel."""
    with Image.open(io.BytesIO(encoded), formats=("PNG",)) as image:
        image._mode = mode
        image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        return np.array(image)


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) where EXIF is absent or damaged."""
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:  # damaged EXIF beside good pixels; Pillow raises many kinds
        return 1


def _is_ordinary(header: TiffHeader) -> bool:
    """Return whether Pillow reads the file into 8 bits as it should."""
    if header.photometric in (PALETTE, *INKS):
        return True
    plain = header.bits <= 8 and header.form not in (SIGNED, FLOATING) and header.colours > 0
    # Zero is black, as no data is.
    marks = header.bits == 8 and header.no_data is not None and 0 < header.no_data < 256
    return plain and not marks


def _pillow_is_exact(header: TiffHeader) -> bool:
    """Return whether Pillow keeps every bit: uint8; grey of uint16, int16, int32 and float32."""
    if (header.form, header.bits) == (UNSIGNED, 8) and header.colours:
        plain = header.extra[:1] != (PREMULTIPLIED,)
        return plain and header.photometric in (BLACK_IS_ZERO, RGB)
    kinds = ((UNSIGNED, 16), (SIGNED, 16), (SIGNED, 32), (FLOATING, 32))
    grey = header.samples == 1 and header.photometric == BLACK_IS_ZERO
    return grey and (header.form, header.bits) in kinds


def _read_by_pillow(encoded: bytes, header: TiffHeader) -> Stored:
    with Image.open(io.BytesIO(encoded), formats=("TIFF",)) as image:
        values = np.asarray(image)  # upright: Pillow turns TIFF itself
    values = values.reshape(*values.shape[:2], header.samples)
    form = {UNSIGNED: "uint", SIGNED: "int", FLOATING: "float"}[header.form]
    colours = header.colours or 1
    return stored(values.astype(f"{form}{header.bits}"), colours=colours, alpha=header.alpha)


def _read_by_tifffile(
    encoded: bytes, header: TiffHeader, channels: int | None, stack: bool, max_pixels: int
) -> Stored:
    tifffile = import_extra("tifffile", name="tiff", what="TIFF files of this kind")
    with tifffile.TiffFile(io.BytesIO(encoded)) as file:
        if stack:
            values = _bands(file, header, channels, max_pixels)
        else:
            page = file.pages[0]
            values = page.asarray()
            if header.samples > 1 and page.axes.startswith("S"):
                values = np.moveaxis(values, 0, -1)
    values = values[..., None] if header.samples == 1 and not stack else values
    if values.ndim != 3 or not values.size:
        raise BadImage(f"an array of shape {values.shape}, not an image of rows and columns")
    if values.dtype.kind not in "iuf":
        raise BadImage(f"pixels of type {values.dtype}: use whole or real numbers")
    bits = header.bits if header.form == 1 and header.bits not in (8, 16, 32, 64) else 0
    colours = header.colours if not stack or values.shape[-1] == 1 else 0
    values = undo_orientation(values, header.orientation)
    return stored(values, colours=colours, alpha=header.alpha and colours > 0, bits=bits)


def _bands(file: Any, header: TiffHeader, channels: int | None, max_pixels: int) -> np.ndarray:
    """Return the pages of a file as [H, W, C]; an array may be [C, H, W] or [H, W, C]."""
    series = file.series[0] if header.is_array else None
    shape = (header.pages, *header.size[::-1])
    if series is not None:
        shape = tuple(length for length in series.shape if length > 1)
    if len(shape) < 3:
        return series.asarray().reshape(*shape[:2], 1)
    first = series is None or shape[0] == channels
    axis = 0 if first or (channels is None and shape[0] <= shape[-1]) else -1
    if len(shape) > 3 or channels not in (None, shape[axis]):
        count = f"{shape[0]} bands" if len(shape) == 3 else f"an array of shape {shape}"
        raise BadImage(f"{count}, but input.channels is {channels}")
    if np.prod(shape, dtype=float) > 4 * max_pixels:
        raise BadImage(f"more values than the limit of {4 * max_pixels}")
    if series is not None:
        return np.moveaxis(series.asarray().reshape(shape), axis, -1)
    pages = [page for page in file.pages if not page.subfiletype & REDUCED_OR_MASK]
    return np.stack([page.asarray() for page in pages], axis=-1)


def _mark_no_data(image: Stored, no_data: float | None) -> Stored:
    """Return an image with its pixels without data marked: NaN, or `absent` for integers."""
    values = image.values
    if no_data is None:
        return image
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            absent = values == values.dtype.type(no_data)
        return image._replace(values=np.where(absent, values.dtype.type(np.nan), values))
    absent = values.astype(np.float64) == no_data
    if image.alpha:
        absent[..., -1] = False
    return image._replace(absent=absent) if absent.any() else image


def _plain(image: Stored, header: TiffHeader) -> Stored:
    """Return an image with black as its least value and colours not multiplied by alpha."""
    values = image.values
    if header.photometric == WHITE_IS_ZERO and values.dtype.kind == "u":
        return image._replace(values=(image.limits[1] - values).astype(values.dtype))
    if image.alpha and header.extra[:1] == (PREMULTIPLIED,):
        alpha = values[..., -1:].astype(np.float64)
        whole = np.divide(image.limits[1], alpha, out=np.zeros_like(alpha), where=alpha > 0)
        colours = values[..., :-1] * whole
        colours = colours if values.dtype.kind == "f" else np.rint(colours)
        colours = np.clip(colours, *image.limits).astype(values.dtype)
        return image._replace(values=np.concatenate([colours, values[..., -1:]], axis=-1))
    return image
