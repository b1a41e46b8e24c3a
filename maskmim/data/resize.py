"""Resizing of pictures by Pillow's antialiased filters."""

from __future__ import annotations

import numpy as np
from PIL import Image

# Pillow first shrinks by whole factors where the picture is at least twice this factor too large.
REDUCING_GAP = 3.0


def resize(
    image: np.ndarray,
    size: tuple[int, int],
    box: tuple[float, float, float, float] | None = None,
    mirror: bool = False,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
) -> np.ndarray:
    """Resize the picture, or its part box (left, top, right, bottom), to (h, w): u8 -> u8[h, w, C].

    Uses an antialiased filter of Pillow, bicubic by default. Channels are resized independently of
    each other: a fourth one is data, not alpha, and weights nothing. mirror: exchange left and
    right.
    f32 stays f32 and is not rounded; bicubic values may go beyond those of the picture by a little.
    """
    channels = image.shape[-1]
    if channels == 3 and image.dtype == np.uint8:
        return _resize_pixels(image, size, box, mirror, resample)
    return np.stack(
        [_resize_pixels(image[..., c], size, box, mirror, resample) for c in range(channels)],
        axis=-1,
    )


def resize_to_cover(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the largest centred part of the aspect ratio of `size` (h, w), resized to it."""
    rows, columns = picture.shape[:2]
    factor = min(rows / size[0], columns / size[1])
    # A product may be rounded to more than the picture has.
    height, width = min(factor * size[0], rows), min(factor * size[1], columns)
    top, left = (rows - height) / 2, (columns - width) / 2
    return resize(picture, tuple(size), (left, top, left + width, top + height))


def _resize_pixels(
    pixels: np.ndarray,
    size: tuple[int, int],
    box: tuple[float, float, float, float] | None,
    mirror: bool,
    resample: Image.Resampling,
) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    height, width = size
    small = picture.resize((width, height), resample, box=box, reducing_gap=REDUCING_GAP)
    if mirror:  # by Pillow, six times as fast as copying a reversed array
        small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(small)
