"""Parts of a Swin Transformer: windows, shifted windows, blocks in pairs, patch merging."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype, Mlp, Norm, scale_branch, scan_blocks
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.init import small_normal
from maskmim.models.layers.relative_position import (
    BiasedAttention,
    bias_table_index,
    bias_table_rows,
    gather_biases,
)
from maskmim.types import Array

Grid = tuple[int, int]
# Added to the scores of tokens in one shifted window that are not neighbours in the image.
MASKED_SCORE = -100.0


def window_side(grid: Grid, window: int) -> int:
    """Return the side of the windows on a grid: `window`, or a smaller grid's shorter side."""
    return min(window, *grid)


def window_shift(grid: Grid, window: int) -> int:
    """Return how far the second block of a pair shifts its windows: half a side.

    0 where one window spans a side of the grid.
    """
    return 0 if min(grid) <= window else window // 2


def split_windows(x: Array, grid: Grid, side: int) -> Array:
    """Cut [B, n, D] into windows [B, windows, side * side, D], row-major as are their tokens."""
    rows, columns = grid[0] // side, grid[1] // side
    cut = x.reshape(x.shape[0], rows, side, columns, side, -1).swapaxes(2, 3)
    return cut.reshape(x.shape[0], rows * columns, side * side, -1)


def join_windows(x: Array, grid: Grid, side: int) -> Array:
    """Invert `split_windows`."""
    rows, columns = grid[0] // side, grid[1] // side
    cut = x.reshape(x.shape[0], rows, columns, side, side, -1).swapaxes(2, 3)
    return cut.reshape(x.shape[0], grid[0] * grid[1], -1)


def roll_grid(x: Array, grid: Grid, shift: int) -> Array:
    """Roll the grid of [B, n, D] by `shift` rows and columns; negative is up and left."""
    if not shift:
        return x
    square = x.reshape(x.shape[0], *grid, -1)
    return jnp.roll(square, (shift, shift), axis=(1, 2)).reshape(x.shape)


def shifted_window_mask(grid: Grid, side: int, shift: int) -> np.ndarray:
    """Return scores that separate tokens of a window joined by rolling: f32[windows, n, n].

    MASKED_SCORE for pairs in a window where one token was rolled over the edge and the other was
    not, else 0.
    Source: attn_mask of SwinTransformerBlock, models/swin_transformer.py, microsoft/SimMIM.
    """
    region = np.zeros(grid, np.int64)
    region[grid[0] - shift :] += 1
    region[:, grid[1] - shift :] += 2
    cut = region.reshape(grid[0] // side, side, grid[1] // side, side).swapaxes(1, 2)
    cut = cut.reshape(-1, side * side)
    return np.where(cut[:, :, None] == cut[:, None, :], 0.0, MASKED_SCORE).astype(np.float32)


class SwinBlock(nn.Module):
    """A pre-norm block with attention inside windows."""

    grid: Grid
    heads: int
    hidden: int
    window: int
    shift: int
    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array, keep: Array | None) -> Array:
        """Map [B, n, D] -> [B, n, D]; keep: f32[B, 2] factors of both branches."""
        grid, side, shift = self.grid, self.window, self.shift
        square = (side, side)
        table = self.param(
            "relative_bias", small_normal, (bias_table_rows(square), self.heads), jnp.float32
        )
        bias = gather_biases(table, bias_table_index(square))
        if shift:
            bias = bias[None] + shifted_window_mask(grid, side, shift)[:, None]
        x = constraints.constrain_examples(x)
        y = Norm(self.epsilon, self.dtype, name="norm1")(x)
        y = split_windows(roll_grid(y, grid, -shift), grid, side)
        y, _ = BiasedAttention(self.heads, self.dtype, name="attention")(y, bias)
        y = roll_grid(join_windows(y, grid, side), grid, shift)
        x = constraints.constrain_examples(x + scale_branch(y, keep, 0))
        y = Norm(self.epsilon, self.dtype, name="norm2")(x)
        return constraints.constrain_examples(
            x + scale_branch(Mlp(self.hidden, self.dtype, name="mlp")(y), keep, 1)
        )


class SwinPair(nn.Module):
    """Two blocks: plain windows, then shifted ones."""

    grid: Grid
    heads: int
    hidden: int
    window: int
    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array, keep: Array | None) -> tuple[Array, None]:
        """Map [B, n, D] -> ([B, n, D], None); keep: f32[2, B, 2]."""
        side = window_side(self.grid, self.window)
        shifts = {"plain": 0, "shifted": window_shift(self.grid, self.window)}
        for index, (name, shift) in enumerate(shifts.items()):
            block = SwinBlock(
                self.grid,
                self.heads,
                self.hidden,
                side,
                shift,
                self.epsilon,
                self.dtype,
                name=name,
            )
            x = block(x, None if keep is None else keep[index])
        return x, None


def swin_stage(depth: int, *block: Any, remat: str, unroll: bool, name: str) -> nn.Module:
    """Return the blocks of one grid, in pairs under one scan.

    They map (x, keep f32[pairs, 2, B, 2]) -> (x, None). block: the attributes of `SwinPair`.
    """
    return scan_blocks(SwinPair, depth=depth // 2, remat=remat, unroll=unroll)(*block, name=name)


class Merge(nn.Module):
    """Merging of 2 x 2 tokens into one, twice as wide: [B, n, D] -> [B, n / 4, 2 D]."""

    grid: Grid
    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Merge tokens; the values of the four come by column, row, channel, as in the sources."""
        examples, _, width = x.shape
        rows, columns = self.grid[0] // 2, self.grid[1] // 2
        four = x.reshape(examples, rows, 2, columns, 2, width).transpose(0, 1, 3, 4, 2, 5)
        four = Norm(self.epsilon, self.dtype, name="norm")(
            four.reshape(examples, rows * columns, 4 * width)
        )
        return Dense(2 * width, use_bias=False, dtype=self.dtype, name="reduction")(
            constraints.constrain_examples(four)
        )
