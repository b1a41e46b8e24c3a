"""Parts of a Swin Transformer: windows, shifted windows, blocks in pairs, patch merging."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype, Mlp, Norm, scaled, stacked
from maskmim.models.layers.relative_position import BiasedAttention, biases, table_index, table_rows
from maskmim.models.vit import small_normal
from maskmim.types import Array

Grid = tuple[int, int]
# Added to the scores of tokens that a shifted window holds but that are no neighbours.
APART = -100.0


def window_side(grid: Grid, window: int) -> int:
    """The side of the windows on a grid: `window`, or the shorter side of a smaller grid."""
    return min(window, *grid)


def window_shift(grid: Grid, window: int) -> int:
    """How far the second block of a pair shifts its windows: half a side.

    0 where one window spans a side of the grid: there is nothing to shift to.
    """
    return 0 if min(grid) <= window else window // 2


def to_windows(x: Array, grid: Grid, side: int) -> Array:
    """[B, n, D] -> [B, windows, side * side, D], windows and the tokens in each row by row."""
    rows, columns = grid[0] // side, grid[1] // side
    cut = x.reshape(x.shape[0], rows, side, columns, side, -1).swapaxes(2, 3)
    return cut.reshape(x.shape[0], rows * columns, side * side, -1)


def from_windows(x: Array, grid: Grid, side: int) -> Array:
    """The inverse of `to_windows`."""
    rows, columns = grid[0] // side, grid[1] // side
    cut = x.reshape(x.shape[0], rows, columns, side, side, -1).swapaxes(2, 3)
    return cut.reshape(x.shape[0], grid[0] * grid[1], -1)


def rolled(x: Array, grid: Grid, shift: int) -> Array:
    """[B, n, D] with its grid rolled by `shift` rows and columns; negative is up and left."""
    if not shift:
        return x
    square = x.reshape(x.shape[0], *grid, -1)
    return jnp.roll(square, (shift, shift), axis=(1, 2)).reshape(x.shape)


def apart(grid: Grid, side: int, shift: int) -> np.ndarray:
    """What keeps parts of the picture apart that rolling brought together: f32[windows, n, n].

    APART for pairs in a window of which one was rolled over the edge and the other was not, else 0.
    Source: attn_mask of SwinTransformerBlock, models/swin_transformer.py, microsoft/SimMIM.
    """
    part = np.zeros(grid, np.int64)
    part[grid[0] - shift :] += 1
    part[:, grid[1] - shift :] += 2
    cut = part.reshape(grid[0] // side, side, grid[1] // side, side).swapaxes(1, 2)
    cut = cut.reshape(-1, side * side)
    return np.where(cut[:, :, None] == cut[:, None, :], 0.0, APART).astype(np.float32)


class SwinBlock(nn.Module):
    """A pre-norm block whose attention stays inside windows."""

    grid: Grid
    heads: int
    hidden: int
    window: int
    shift: int
    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array, keep: Array | None) -> Array:
        """[B, n, D] -> [B, n, D]; keep: f32[B, 2] factors of both branches."""
        grid, side, shift = self.grid, self.window, self.shift
        square = (side, side)
        table = self.param(
            "relative_bias", small_normal, (table_rows(square), self.heads), jnp.float32
        )
        bias = biases(table, table_index(square))
        if shift:
            bias = bias + apart(grid, side, shift)[:, None]
        x = constraints.examples(x)
        y = Norm(self.epsilon, self.dtype, name="norm1")(x)
        y = to_windows(rolled(y, grid, -shift), grid, side)
        y, _ = BiasedAttention(self.heads, self.dtype, name="attention")(y, bias)
        y = rolled(from_windows(y, grid, side), grid, shift)
        x = constraints.examples(x + scaled(y, keep, 0))
        y = Norm(self.epsilon, self.dtype, name="norm2")(x)
        return constraints.examples(
            x + scaled(Mlp(self.hidden, self.dtype, name="mlp")(y), keep, 1)
        )


class SwinPair(nn.Module):
    """Two blocks: windows as they lie, then shifted ones."""

    grid: Grid
    heads: int
    hidden: int
    window: int
    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array, keep: Array | None) -> tuple[Array, None]:
        """[B, n, D] -> ([B, n, D], nothing for each pair); keep: f32[2, B, 2]."""
        side = window_side(self.grid, self.window)
        shifts = {"plain": 0, "shifted": window_shift(self.grid, self.window)}
        for place, (name, shift) in enumerate(shifts.items()):
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
            x = block(x, None if keep is None else keep[place])
        return x, None


def swin_stage(depth: int, *block: Any, remat: str, unroll: bool, name: str) -> nn.Module:
    """The blocks of one grid in pairs under one scan: (x, keep f32[pairs, 2, B, 2]) -> (x, None).

    block: the attributes of `SwinPair`.
    """
    return stacked(SwinPair, depth=depth // 2, remat=remat, unroll=unroll)(*block, name=name)


class Merge(nn.Module):
    """Each 2 x 2 tokens become one, twice as wide: [B, n, D] -> [B, n / 4, 2 D]."""

    grid: Grid
    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Values of the four by column, row, channel, as in the sources."""
        examples, _, width = x.shape
        rows, columns = self.grid[0] // 2, self.grid[1] // 2
        four = x.reshape(examples, rows, 2, columns, 2, width).transpose(0, 1, 3, 4, 2, 5)
        four = Norm(self.epsilon, self.dtype, name="norm")(
            four.reshape(examples, rows * columns, 4 * width)
        )
        return nn.Dense(2 * width, use_bias=False, dtype=self.dtype, name="reduction")(
            constraints.examples(four)
        )
