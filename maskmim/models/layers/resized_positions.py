"""Resizing of learned positions other than MAE's and timm's `posembed.resize_positions`."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.config.ranges import NonNegative, NonNegativeInt
from maskmim.types import Array

Grid = tuple[int, ...]


def with_offset(
    table: Array, old: tuple[int, int], new: tuple[int, int], *, offset: NonNegative = 0.1
) -> Array:
    """Resize positions f32[N, D] to another grid, by scales of (new + offset) / old.

    Bicubic as in torch, without antialiasing.
    Source: interpolate_pos_encoding of dino and dinov2, facebookresearch, which add 0.1 so that
    rounding cannot lose a row. transformers leaves it out.
    """
    shape = (*new, table.shape[-1])
    scale = jnp.array([(after + offset) / before for before, after in zip(old, new, strict=True)])
    method = jax.image.ResizeMethod.CUBIC_PYTORCH
    image = table.reshape(*old, -1)
    resized = jax.image.scale_and_translate(
        image, shape, (0, 1), scale, jnp.zeros(2), method, antialias=False
    )
    return resized.reshape(new[0] * new[1], -1)


def antialiased(table: Array, old: tuple[int, int], new: tuple[int, int]) -> Array:
    """Resize positions f32[N, D] to another grid, bicubic and antialiased as in torch and PIL.

    Source: dinov2's networks with registers (interpolate_antialias, no offset).
    """
    shape = (*new, table.shape[-1])
    resized = jax.image.resize(table.reshape(*old, -1), shape, "cubic", antialias=True)
    return resized.reshape(new[0] * new[1], -1)


def resize_table(table: np.ndarray, old: Grid, new: Grid) -> np.ndarray:
    """Resize a table f32[..., R + prod(old), D] to f32[..., R + prod(new), D], as `antialiased`.

    old, new: grids with equally many axes, row-major. The R rows that come first (of class tokens)
    stay as they are. Raises ValueError for a table of fewer rows than the old grid has places.
    """
    prefix = table.shape[-2] - math.prod(old)
    if prefix < 0 or len(old) != len(new):
        raise ValueError(f"a table of {table.shape[-2]} rows on {old} cannot be resized to {new}")
    return np.concatenate([table[..., :prefix, :], _resize(table[..., prefix:, :], old, new)], -2)


def resize_offsets(
    table: np.ndarray, old: Grid, new: Grid, *, last: NonNegativeInt = 0
) -> np.ndarray:
    """Resize biases of offsets f32[..., prod(2 old - 1) + last, heads] to another grid.

    A row for each offset on the grid, see `relative_position.bias_table_index`; the offsets reach
    as far as the grid, whose ends are kept. The `last` rows, of a class token, stay as they are.
    Bicubic and antialiased. Differences: BEiT places its offsets on a geometric sequence
    (run_class_finetuning.py), Swin resizes without antialiasing.
    """
    count = table.shape[-2] - last
    offsets = [tuple(2 * side - 1 for side in grid) for grid in (old, new)]
    if count != math.prod(offsets[0]):
        raise ValueError(f"a table of {count} offsets on {old} cannot be resized to {new}")
    resized = _resize(table[..., :count, :], *offsets)
    return np.concatenate([resized, table[..., count:, :]], -2)


def _resize(table: np.ndarray, old: Grid, new: Grid) -> np.ndarray:
    """Resize f32[..., prod(old), D] to f32[..., prod(new), D]."""
    lead, width = table.shape[:-2], table.shape[-1]
    shape = (*lead, *new, width)
    resized = jax.image.resize(table.reshape(*lead, *old, width), shape, "cubic", antialias=True)
    return np.asarray(resized).reshape(*lead, math.prod(new), width)
