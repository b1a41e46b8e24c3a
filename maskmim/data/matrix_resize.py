"""Pillow's bicubic filter by small matrix products, one and a half times as fast.

Resizing is linear along each axis, and a pixel of the result depends only on a few neighbouring
columns (then rows). So sixteen columns of the result are one product of the columns they depend on
with a small dense matrix. BLAS computes it with all of a core's vector units; Pillow goes pixel by
pixel.

As in Pillow, columns come first, and their levels are rounded and limited before the rows. (Pillow
13 takes rows first where they are reduced more, which moves a third of the values by a level, and
more at hard edges.)

Weights are multiples of 1/32768, and so are their products with pixels and the sums of these, all
below 2^24 multiples, which float32 represents exactly. So the result does not depend on the order
of summation, hence neither on the machine nor on its BLAS.
Difference: Pillow's weights are finer, multiples of 2^-22. One value in a hundred differs by a
level.
"""

from __future__ import annotations

import functools
import math
import threading

import numpy as np

from maskmim.data.resize import resize

ONE = 1 << 15  # Weights are multiples of 1 / ONE.
BAND = 16  # Columns or rows of the result per product.
# OpenBLAS computes products of at most this many multiplications in the calling thread alone.
ALONE = 1 << 18
# Pillow resizes pictures that are reduced more than this: it first shrinks by whole factors.
MOST = 3

_buffers = threading.local()


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
    planes = _scratch("planes", channels, rows, columns)
    np.copyto(planes, image.transpose(2, 0, 1))
    narrow = _scratch("narrow", channels, rows, width)
    _resize_columns(planes.reshape(-1, columns), narrow.reshape(-1, width), mirror)
    np.floor(_limited(narrow), out=narrow)
    small = _scratch("small", channels, height, width)
    for plane, result in zip(narrow, small, strict=True):
        _resize_rows(plane, result)
    return np.stack(list(_limited(small).astype(np.uint8)), axis=-1)


def _resize_columns(source: np.ndarray, result: np.ndarray, mirror: bool) -> None:
    """Resize levels f32[n, columns] along the second axis: write f32[n, width]."""
    others, width = result.shape
    for outputs, inputs, weights in resize_bands(source.shape[1], width):
        if mirror:
            outputs = slice(width - outputs.stop, width - outputs.start)
            weights = weights[:, ::-1]
        step = max(1, ALONE // weights.size)
        for start in range(0, others, step):
            part = slice(start, start + step)
            np.matmul(source[part, inputs], weights, out=result[part, outputs])


def _resize_rows(source: np.ndarray, result: np.ndarray) -> None:
    """Resize levels f32[rows, n] along the first axis: write f32[height, n]."""
    height, others = result.shape
    for outputs, inputs, weights in resize_bands(len(source), height):
        step = max(1, ALONE // weights.size)
        for start in range(0, others, step):
            part = slice(start, start + step)
            np.matmul(weights.T, source[inputs, part], out=result[outputs, part])


@functools.lru_cache(maxsize=1024)
def resize_bands(length: int, result: int) -> tuple[tuple[slice, slice, np.ndarray], ...]:
    """Return the weights that resize `length` pixels to `result` pixels, in bands of BAND.

    A band is (pixels of the result, pixels they depend on, weights f32[dependencies, pixels]);
    about 30 kB for 224 pixels.
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


def _limited(sums: np.ndarray) -> np.ndarray:
    """Return sums of weighted levels, limited to 0 ... 255, in place; the floor is halves up."""
    sums += 0.5
    return np.clip(sums, 0, 255, out=sums)


def _scratch(name: str, *shape: int) -> np.ndarray:
    """Return this thread's buffer of a shape: allocating would cost as much as the work."""
    count = math.prod(shape)
    buffer = getattr(_buffers, name, None)
    if buffer is None or buffer.size < count:
        buffer = np.empty(count, np.float32)
        setattr(_buffers, name, buffer)
    return buffer[:count].reshape(shape)
