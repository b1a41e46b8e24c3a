"""Limits on the size of an image, and its orientation."""

from __future__ import annotations

import numpy as np

from maskmim.data.records import BadImage


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise BadImage for more pixels than the limit."""
    if width * height > max_pixels:
        raise BadImage(f"{width} x {height} pixels are more than the limit of {max_pixels}")


def undo_orientation(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF or TIFF orientation, 1 to 8 (anything else: unchanged), of [H, W, C]."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
