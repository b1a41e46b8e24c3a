"""The crop of `transforms`, resized by small matrix products, about twice as fast as Pillow.

Resizing is linear along each axis, and a pixel of the result depends on a few neighbouring rows
(then columns) only. So sixteen rows of the result are one product of a small dense matrix with the
rows they depend on, which BLAS does with all of a core's vector units, where Pillow goes pixel by
pixel.

Weights are multiples of 1/32768, so that every product and sum of them with pixels is one too and
below 2^24 of them, which float32 holds exactly: the result does not depend on the order of sums,
hence neither on the machine nor on its BLAS. Pillow resizes columns before rows and rounds in
between, as is done here the other way round: a fifth of all values differ, by one level.
"""

from __future__ import annotations

import functools
import threading

import numpy as np

from maskmim.data.transforms import crop_box, resize

ONE = 1 << 15  # Weights are multiples of 1 / ONE.
BAND = 16  # Rows of the result that are one product.
# OpenBLAS works off products of at most so many multiplications in the calling thread alone.
ALONE = 1 << 18
# Pictures that are reduced more than this are Pillow's, which first shrinks by whole factors.
MOST = 3

_held = threading.local()


def random_resized_crop_flip(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.5,
) -> np.ndarray:
    """`transforms.random_resized_crop_flip` by `resized`: the same crops and flips of them.

    scale, ratio, flip: as there.
    """
    top, left, height, width = crop_box(rng, image.shape[:2], scale=scale, ratio=ratio)
    part = image[top : top + height, left : left + width]
    return resized(part, size, mirror=rng.random() < flip)


def resized(image: np.ndarray, size: tuple[int, int], mirror: bool = False) -> np.ndarray:
    """A picture u8[H, W, C] at size (h, w) by the antialiased bicubic filter: u8[h, w, C].

    mirror: left and right are exchanged. Parts more than three times too large are Pillow's.
    """
    rows, columns, channels = image.shape
    height, width = size
    if rows > MOST * height or columns > MOST * width:
        return resize(image, size, mirror=mirror)
    pixels = _scratch("pixels", rows, columns * channels)
    np.copyto(pixels.reshape(image.shape), image)
    turned = _scratch("turned", columns * channels, height)
    _resize_first_axis(pixels, turned)
    planes = _scratch("planes", channels * height, width)
    _resize_first_axis(turned.reshape(columns, channels * height), planes, mirror)
    return np.stack(planes.reshape(channels, height, width).astype(np.uint8), axis=-1)


def _resize_first_axis(source: np.ndarray, result: np.ndarray, mirror: bool = False) -> None:
    """Levels f32[length, n] resized along the first axis, which becomes the last, [n, result]."""
    others, length = result.shape
    for places, band, weights in bands(len(source), length):
        if mirror:
            places, weights = slice(length - places.stop, length - places.start), weights[:, ::-1]
        step = max(1, ALONE // weights.size)
        for start in range(0, others, step):
            part = slice(start, start + step)
            np.matmul(source[band, part].T, weights, out=result[part, places])
    _to_levels(result)


@functools.lru_cache(maxsize=1024)
def bands(length: int, result: int) -> tuple[tuple[slice, slice, np.ndarray], ...]:
    """How `result` places come from `length`, by bands of them.

    (places of the result, places they depend on, weights f32[dependencies, places]) each; about 30
    kB for 224 places.
    """
    weights = _weights(length, result)
    found = []
    for start in range(0, result, BAND):
        band = weights[start : start + BAND]
        used = np.flatnonzero(band.any(axis=0))
        needs = slice(int(used[0]), int(used[-1]) + 1)
        dense = np.ascontiguousarray(band[:, needs].T, np.float32)
        found.append((slice(start, start + len(band)), needs, dense))
    return tuple(found)


def _weights(length: int, result: int) -> np.ndarray:
    """f64[result, length]: weights of Pillow's bicubic filter, multiples of 1 / ONE."""
    scale = length / result
    centres = (np.arange(result) + 0.5) * scale
    away = np.abs(np.arange(length) + 0.5 - centres[:, None]) / max(scale, 1.0)
    near = (1.5 * away - 2.5) * away**2 + 1
    far = ((-0.5 * away + 2.5) * away - 4) * away + 2
    kernel = np.where(away < 1, near, np.where(away < 2, far, 0.0))
    return np.rint(kernel / kernel.sum(axis=1, keepdims=True) * ONE) / ONE


def _to_levels(sums: np.ndarray) -> None:
    """Sums of weighted levels to levels 0 ... 255, in place; halves are rounded up."""
    sums += 0.5
    np.floor(sums, out=sums)
    np.clip(sums, 0, 255, out=sums)


def _scratch(name: str, rows: int, columns: int) -> np.ndarray:
    """f32[rows, columns] of this thread, used again: new memory would cost as much as the work."""
    buffer = getattr(_held, name, None)
    if buffer is None or buffer.size < rows * columns:
        buffer = np.empty(rows * columns, np.float32)
        setattr(_held, name, buffer)
    return buffer[: rows * columns].reshape(rows, columns)
