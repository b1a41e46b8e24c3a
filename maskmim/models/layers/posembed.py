"""Position embeddings: fixed sines and cosines on any grid, and resizing of any table."""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.models.layers.errors import ModelError
from maskmim.types import Array


def sincos(width: int, grid: tuple[int, ...], *, temperature: float = 10_000.0) -> np.ndarray:
    """Return fixed position embeddings f32[prod(grid), width], row-major.

    The last axis of the grid takes the first part of the width, the axis before it the next; each
    part holds the sines of its frequencies, then the cosines. On (rows, columns) this is the table
    of MAE (util/pos_embed.py), columns first. Computed in float64.
    Raises ModelError unless twice the number of axes divides the width.
    """
    positions = np.indices(grid).reshape(len(grid), -1)
    return _sines_and_cosines(positions, width, temperature)


def sincos_stretched(width: int, grid: tuple[int, ...]) -> np.ndarray:
    """Return `sincos` with n tokens of an axis at n / (n - 1) instead of 1 from each other.

    The last token is at n, the first at 0.
    Source: AbsolutePositionEmbeds and SinCosPEs of vits.py, yibingwei-1/LatentMIM, on square grids.
    """
    steps = np.array([side / max(side - 1, 1) for side in grid])
    positions = np.indices(grid).reshape(len(grid), -1) * steps[:, None]
    return _sines_and_cosines(positions, width, 10_000.0)


def _sines_and_cosines(positions: np.ndarray, width: int, temperature: float) -> np.ndarray:
    """Return the table of `sincos` at positions [axes, tokens]."""
    axes = len(positions)
    parts = 2 * axes
    if width % parts:
        raise ModelError(
            f"sin-cos positions on a grid with {axes} axes need a width divisible by {parts}, "
            f"got {width}"
        )
    count = width // parts
    frequencies = temperature ** -(np.arange(count, dtype=np.float64) / count)
    columns = []
    for along_axis in positions[::-1]:
        angles = along_axis[:, None] * frequencies
        columns += [np.sin(angles), np.cos(angles)]
    return np.concatenate(columns, axis=1).astype(np.float32)


def sinusoid(width: int, grid: tuple[int, ...], *, temperature: float = 10_000.0) -> np.ndarray:
    """Return the first transformer's table over the tokens in one row: f32[prod(grid), width].

    Value 2i of token n is sin(n / temperature^(2i / width)), value 2i + 1 its cosine; the shape of
    the grid plays no part. Computed in float64.
    Source: Attention Is All You Need (arXiv 1706.03762), section 3.5; VideoMAE's
    get_sinusoid_encoding_table (modeling_finetune.py) on all its space-time tokens.
    """
    column = np.arange(width)
    frequencies = temperature ** -(2 * (column // 2) / width)
    angles = np.arange(math.prod(grid), dtype=np.float64)[:, None] * frequencies
    return np.where(column % 2, np.cos(angles), np.sin(angles)).astype(np.float32)


def sincos_exchanged(width: int, grid: tuple[int, ...]) -> np.ndarray:
    """Return `sincos` of the grid with its axes reversed, assigned to the tokens in their order.

    Positions stay distinct, but neighbours on the grid are not neighbours in the table.
    Source: PatchEmbed_org.patch_hw of util/patch_embed.py, facebookresearch/AudioMAE, where 64 x 8
    tokens of (time, mel) get the table of 8 x 64; on square grids it is `sincos`.
    """
    return sincos(width, grid[::-1])


def sincos_rows_first(width: int, grid: tuple[int, ...]) -> np.ndarray:
    """Return `sincos` with its parts in the other order: the first axis takes the first part.

    Source: build_2d_sincos_posemb of MoCo v3 (vits.py) and MultiMAE (multimae_utils.py), on square
    grids; on others their table assigns the positions of columns x rows.
    """
    parts = np.split(sincos(width, grid), len(grid), axis=1)
    return np.concatenate(parts[::-1], axis=1)


def sincos_cut(width: int, grid: tuple[int, ...], *, temperature: float = 10_000.0) -> np.ndarray:
    """Return sines and cosines of any even width: f32[prod(grid), width], row-major.

    The first axis of the grid takes the first part of the width, the next the next; all parts are
    equal, rounded up to pairs, and what is beyond the width is cut off. Computed in float64.
    Source: get_3d_sincos_pos_embed with uniform_power, src/models/utils/pos_embs.py of
    facebookresearch/jepa.
    """
    count = math.ceil(width / (2 * len(grid)))
    frequencies = temperature ** -(np.arange(count, dtype=np.float64) / count)
    parts = []
    for along_axis in np.indices(grid).reshape(len(grid), -1):
        angles = along_axis[:, None] * frequencies
        parts += [np.sin(angles), np.cos(angles)]
    return np.concatenate(parts, axis=1)[:, :width].astype(np.float32)


# Tables that are computed, not learnt, by name.
# Names of position tables, and of these with the learned one.
FixedPositions = Literal["sincos", "sinusoid", "sincos_exchanged", "sincos_stretched", "sincos_cut"]
Positions = Literal[FixedPositions, "learned"]
FIXED = {
    "sincos": sincos,
    "sinusoid": sinusoid,
    "sincos_exchanged": sincos_exchanged,
    "sincos_stretched": sincos_stretched,
    "sincos_cut": sincos_cut,
}


def fixed_positions(name: str, width: int, grid: tuple[int, ...]) -> np.ndarray:
    """Return the table called `name`, a key of FIXED: f32[prod(grid), width]."""
    return FIXED[name](width, grid)


def resize_positions(table: Array, old: tuple[int, int], new: tuple[int, int]) -> Array:
    """Resize a position table to another grid, by torch's bicubic interpolation.

    table: f32[R + prod(old), D]; the R leading rows (class token, registers) stay as they are.
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
