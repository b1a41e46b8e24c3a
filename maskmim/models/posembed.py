"""Position embeddings: fixed sines and cosines on any grid, and resizing of any table."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.types import Array


def sincos(width: int, grid: tuple[int, ...], *, temperature: float = 10_000.0) -> np.ndarray:
    """Fixed position embeddings f32[prod(grid), width], row-major.

    The last axis of the grid takes the first part of the width, the axis before it the next; each
    part holds the sines of its frequencies, then the cosines. On (rows, columns) this is the table
    of MAE (util/pos_embed.py), columns first. Computed in float64.
    Raises ValueError where the width does not divide by twice the number of axes.
    """
    parts = 2 * len(grid)
    if width % parts:
        raise ValueError(
            f"sin-cos positions on a grid with {len(grid)} axes need a width divisible by {parts}, "
            f"got {width}"
        )
    count = width // parts
    frequencies = temperature ** -(np.arange(count, dtype=np.float64) / count)
    places = np.indices(grid).reshape(len(grid), -1)
    columns = []
    for place in places[::-1]:
        angles = place[:, None] * frequencies
        columns += [np.sin(angles), np.cos(angles)]
    return np.concatenate(columns, axis=1).astype(np.float32)


def resize_positions(table: Array, old: tuple[int, int], new: tuple[int, int]) -> Array:
    """A position table for another grid, by torch's bicubic interpolation.

    table: f32[R + prod(old), D]; the R leading rows (class token, registers) are kept as they are.
    Returns f32[R + prod(new), D]. Equal to torch's interpolate(mode='bicubic', align_corners=False)
    without antialiasing, as MAE, timm and transformers resize.
    """
    prefix = table.shape[0] - old[0] * old[1]
    if prefix < 0:
        raise ValueError(f"a table of {table.shape[0]} rows cannot hold the grid {old}")
    image = table[prefix:].reshape(*old, -1)
    method = jax.image.ResizeMethod.CUBIC_PYTORCH
    resized = jax.image.resize(image, (*new, image.shape[-1]), method, antialias=False)
    return jnp.concatenate([table[:prefix], resized.reshape(new[0] * new[1], -1)])
