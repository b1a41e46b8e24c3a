"""Maps of class indices, such as the label of each pixel: read without changing a number."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from maskmim.config.ranges import NonNegativeInt, PositiveInt
from maskmim.data.decode import MAX_PIXELS, bad_images, read_deep_image
from maskmim.data.deep_images import PNG, orientation_of
from maskmim.data.geometry import check_size, undo_orientation
from maskmim.data.no_class import UnknownClass
from maskmim.data.records import BadImage, DataError
from maskmim.data.tiff_header import TIFF, read_header

FORMATS = ("PNG", "TIFF")
# Pillow stretches grey of 2 and 4 bits to 8: black stays 0, white becomes 255.
STRETCHED = {2: 85, 4: 17}


def label_map(
    rng: np.random.Generator,
    encoded: bytes | np.ndarray,
    channels: PositiveInt = 1,
    *,
    classes: NonNegativeInt = 0,
    void: NonNegativeInt | None = None,
    max_pixels: PositiveInt = MAX_PIXELS,
) -> np.ndarray:
    """Return the indices of a map as they are stored, upright: u8[H, W, 1], or i32 beyond 255.

    encoded:  PNG or TIFF of one channel of up to 16 bits; of a palette its indices, never its
              colours. Or whole numbers [H, W] or [H, W, 1].
    channels: 1. classes: number of classes, 0 for any.
    void:     the index that pixels of no class have, such as 255. It is kept here; in a batch of a
              stream of classes it is what `data.no_class` says, and counts nowhere.
    Raises UnknownClass for an index that is neither a class nor void, DataError for other channels,
    BadImage where the file cannot be read, has colours, or is of a format that does not keep
    indices, such as JPEG.
    """
    if channels != 1:
        raise DataError(f"a map of indices has one channel, not {channels}: set channels=1")
    indices = _from_array(encoded) if isinstance(encoded, np.ndarray) else None
    if indices is None:
        indices = _read(encoded, max_pixels)
    if indices.size and (indices.min() < 0 or indices.max() >= 2**31):
        raise BadImage(f"indices from {indices.min()} to {indices.max()}: classes count from 0")
    if classes:
        _check(indices, classes, void)
    narrow = not indices.size or indices.max() < 256
    return np.ascontiguousarray(indices, np.uint8 if narrow else np.int32)


def _check(indices: np.ndarray, classes: int, void: int | None) -> None:
    """Raise UnknownClass for an index that is neither a class nor void."""
    wrong = indices[indices >= classes]
    wrong = wrong if void is None else wrong[wrong != void]
    if wrong.size:
        raise UnknownClass(int(wrong.max()), classes)


def _from_array(values: np.ndarray) -> np.ndarray:
    plain = values[..., None] if values.ndim == 2 else values
    if plain.ndim != 3 or plain.shape[-1] != 1 or 0 in plain.shape or plain.dtype.kind not in "iub":
        raise BadImage(f"expected indices [H, W], got an array {values.dtype}{list(values.shape)}")
    return plain


def _read(encoded: bytes, max_pixels: int) -> np.ndarray:
    """Return the indices [H, W, 1] of a file."""
    if encoded and encoded[:8] != PNG and encoded[:4] not in TIFF:
        raise BadImage("not PNG or TIFF: other formats do not keep the indices of a map")
    deep = read_deep_image(encoded, 1, max_pixels)
    if deep is not None:
        if deep.values.shape[-1] != 1 or deep.values.dtype.kind not in "iu":
            raise BadImage(f"{deep.values.shape[-1]} channels of {deep.kind}, not indices")
        return deep.values
    with bad_images(max_pixels), Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
        check_size(*image.size, max_pixels)
        image.load()
        if image.mode not in ("1", "L", "P"):
            raise BadImage(
                f"a picture of mode {image.mode}, not a map: indices need one channel or a palette"
            )
        stretched = STRETCHED.get(_bits(encoded), 1) if image.mode == "L" else 1
        indices = np.asarray(image)[..., None] // np.uint8(stretched)
        turned = encoded[:8] == PNG  # Pillow turns TIFF itself
        return undo_orientation(indices, orientation_of(image) if turned else 1)


def _bits(encoded: bytes) -> int:
    """Return the bits of a value in a PNG or TIFF file."""
    return encoded[24] if encoded[:8] == PNG else read_header(encoded).bits
