"""The crop of `transforms`, resized by small matrix products, about twice as fast as Pillow.

Resizing is linear along each axis, and a pixel of the result depends only on a few neighbouring
rows (then columns). So sixteen rows of the result are one product of a small dense matrix with the
rows they depend on. BLAS computes it with all of a core's vector units; Pillow goes pixel by pixel.

Weights are multiples of 1/32768, and so are their products with pixels and the sums of these, all
below 2^24 multiples, which float32 represents exactly. So the result does not depend on the order
of summation, hence neither on the machine nor on its BLAS.
Difference: Pillow resizes columns, rounds and then resizes rows; this module takes rows first. A
fifth of all values differ, by one level.
"""

from __future__ import annotations

import functools
import threading

import numpy as np

from maskmim.config.ranges import Fraction, FractionRange, PositiveRange
from maskmim.data.transforms import random_crop_box, resize

ONE = 1 << 15  # Weights are multiples of 1 / ONE.
BAND = 16  # Rows of the result per product.
# OpenBLAS computes products of at most this many multiplications in the calling thread alone.
ALONE = 1 << 18
# Pillow resizes pictures that are reduced more than this: it first shrinks by whole factors.
MOST = 3

_buffers = threading.local()


def random_resized_crop_flip(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    scale: FractionRange = (0.2, 1.0),
    ratio: PositiveRange = (3 / 4, 4 / 3),
    flip: Fraction = 0.5,
) -> np.ndarray:
    """Crop and flip as `transforms.random_resized_crop_flip`, resized by `resize_by_matrices`.

    scale, ratio, flip: as in `transforms.random_resized_crop_flip`.
    """
    top, left, height, width = random_crop_box(rng, image.shape[:2], scale=scale, ratio=ratio)
    part = image[top : top + height, left : left + width]
    return resize_by_matrices(part, size, mirror=rng.random() < flip)


def resize_by_matrices(
    image: np.ndarray, size: tuple[int, int], mirror: bool = False
) -> np.ndarray:
    """Resize a picture u8[H, W, C] to size (h, w) by the antialiased bicubic filter: u8[h, w, C].

    mirror: exchange left and right. Pillow resizes parts that are more than MOST times too large,
    and pictures f32[H, W, C], whose sums are not exact in float32.
    """
    rows, columns, channels = image.shape
    height, width = size
    if image.dtype != np.uint8 or rows > MOST * height or columns > MOST * width:
        return resize(image, size, mirror=mirror)
    pixels = _scratch("pixels", rows, columns * channels)
    np.copyto(pixels.reshape(image.shape), image)
    transposed = _scratch("transposed", columns * channels, height)
    _resize_first_axis(pixels, transposed)
    planes = _scratch("planes", channels * height, width)
    _resize_first_axis(transposed.reshape(columns, channels * height), planes, mirror)
    return np.stack(planes.reshape(channels, height, width).astype(np.uint8), axis=-1)


def _resize_first_axis(source: np.ndarray, result: np.ndarray, mirror: bool = False) -> None:
    """Resize levels f32[length, n] along the first axis and transpose: write f32[n, result]."""
    others, length = result.shape
    for outputs, inputs, weights in resize_bands(len(source), length):
        if mirror:
            outputs = slice(length - outputs.stop, length - outputs.start)
            weights = weights[:, ::-1]
        step = max(1, ALONE // weights.size)
        for start in range(0, others, step):
            part = slice(start, start + step)
            np.matmul(source[inputs, part].T, weights, out=result[part, outputs])
    _round_to_levels(result)


@functools.lru_cache(maxsize=1024)
def resize_bands(length: int, result: int) -> tuple[tuple[slice, slice, np.ndarray], ...]:
    """Return the weights that resize `length` rows to `result` rows, in bands of BAND rows.

    A band is (rows of the result, rows they depend on, weights f32[dependencies, rows]); about 30
    kB for 224 rows.
    """
    weights = _weights(length, result)
    bands = []
    for start in range(0, result, BAND):
        band = weights[start : start + BAND]
        used = np.flatnonzero(band.any(axis=0))
        inputs = slice(int(used[0]), int(used[-1]) + 1)
        dense = np.ascontiguousarray(band[:, inputs].T, np.float32)
        bands.append((slice(start, start + len(band)), inputs, dense))
    return tuple(bands)


def _weights(length: int, result: int) -> np.ndarray:
    """Return the weights f64[result, length] of Pillow's bicubic filter, multiples of 1 / ONE."""
    scale = length / result
    centres = (np.arange(result) + 0.5) * scale
    away = np.abs(np.arange(length) + 0.5 - centres[:, None]) / max(scale, 1.0)
    near = (1.5 * away - 2.5) * away**2 + 1
    far = ((-0.5 * away + 2.5) * away - 4) * away + 2
    kernel = np.where(away < 1, near, np.where(away < 2, far, 0.0))
    return np.rint(kernel / kernel.sum(axis=1, keepdims=True) * ONE) / ONE


def _round_to_levels(sums: np.ndarray) -> None:
    """Round sums of weighted levels to levels 0 ... 255, in place, halves up."""
    sums += 0.5
    np.floor(sums, out=sums)
    np.clip(sums, 0, 255, out=sums)


def _scratch(name: str, rows: int, columns: int) -> np.ndarray:
    """Return this thread's buffer f32[rows, columns]: allocating would cost as much as the work."""
    buffer = getattr(_buffers, name, None)
    if buffer is None or buffer.size < rows * columns:
        buffer = np.empty(rows * columns, np.float32)
        setattr(_buffers, name, buffer)
    return buffer[: rows * columns].reshape(rows, columns)
