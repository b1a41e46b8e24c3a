"""Blocks with scaled cosine attention inside windows; every second block shifts them in time."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype, Mlp, Norm, scan_blocks, xavier
from maskmim.models.layers.dense import Dense, DenseGeneral
from maskmim.models.layers.relative_position import bias_table_index, gather_biases
from maskmim.models.layers.swin_blocks import MASKED_SCORE, Grid, join_windows, split_windows
from maskmim.types import Array

# Hidden units of the network that computes position biases from offsets.
OFFSET_UNITS = 384
# Lower bounds of the squared lengths of queries and keys, and of learned scales.
MIN_SQUARED_LENGTH, MIN_SCALE = 1e-12, 0.01


class OffsetBias(nn.Module):
    """A bias for each head and pair of tokens in a window, by a small network from their offset.

    Offsets are (query's position minus key's), as sign(x) log(1 + |x|) of rows and of columns.
    Source: Swin V2 (arXiv 2111.09883), section 3.3; WindowMultiHeadAttention of
    timm_patch/swin_transformer.py, facebookresearch/AudioMAE. Differences: the official code drops
    a tenth of the network's hidden and output values in training, which it marks as unsettled, and
    its last layer has a bias, which the softmax cancels.
    """

    heads: int
    side: int

    @nn.compact
    def __call__(self) -> Array:
        """Return the biases f32[heads, side * side, side * side]."""
        reach = 2 * self.side - 1
        offsets = np.indices((reach, reach)).reshape(2, -1).T - (self.side - 1.0)
        offsets = np.sign(offsets) * np.log1p(np.abs(offsets))
        hidden = nn.relu(Dense(OFFSET_UNITS, kernel_init=xavier, name="up")(offsets))
        down = Dense(self.heads, use_bias=False, kernel_init=xavier, name="down")
        table = down(hidden)
        return gather_biases(table, bias_table_index((self.side, self.side)))


class CosineAttention(nn.Module):
    """Multi-head self-attention by the cosines of queries and keys, over a learned scale.

    Source: as `OffsetBias`. Each head has one scale, 1 at the start.
    """

    heads: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array, bias: Array) -> Array:
        """Map [..., n, D] -> [..., n, D]; bias: f32[..., heads, n, n], broadcast."""
        width = x.shape[-1]
        qkv = DenseGeneral(
            (3, self.heads, width // self.heads), kernel_init=xavier, dtype=self.dtype, name="qkv"
        )(x)
        query, key, value = jnp.moveaxis(qkv, -3, 0)
        scale = self.param("scale", nn.initializers.ones, (self.heads,))
        cosines = jnp.einsum("...qhd,...khd->...hqk", unit_vectors(query), unit_vectors(key))
        scale = jnp.maximum(scale, MIN_SCALE).reshape(*[1] * (cosines.ndim - 3), -1, 1, 1)
        bias = bias.reshape(*[1] * (cosines.ndim - bias.ndim), *bias.shape)
        weights = jax.nn.softmax(cosines / scale + bias, axis=-1)
        mixed = jnp.einsum("...hqk,...khd->...qhd", weights.astype(value.dtype), value)
        merge = DenseGeneral(width, axis=(-2, -1), kernel_init=xavier, dtype=self.dtype, name="out")
        return merge(mixed)


def unit_vectors(x: Array) -> Array:
    """Scale vectors [..., d] to length 1, in float32."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x**2, axis=-1, keepdims=True), MIN_SQUARED_LENGTH))


class WindowBlock(nn.Module):
    """A block with attention inside windows and a norm at the end of each branch.

    side: of the windows in tokens. shift: of the windows, in time steps towards the end.
    """

    grid: Grid
    heads: int
    hidden: int
    side: int
    shift: int
    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, n, D] -> [B, n, D]."""
        x = constraints.constrain_examples(x)
        shift = self.shift * self.grid[1]
        bias = OffsetBias(self.heads, self.side, name="offset_mlp")()
        bias = bias[None] + shifted_time_mask(self.grid, self.side, self.shift)[:, None]
        y = split_windows(jnp.roll(x, -shift, axis=1), self.grid, self.side)
        y = CosineAttention(self.heads, self.dtype, name="attention")(y, bias)
        y = jnp.roll(join_windows(y, self.grid, self.side), shift, axis=1)
        x = constraints.constrain_examples(x + Norm(self.epsilon, self.dtype, name="norm1")(y))
        y = Mlp(self.hidden, self.dtype, name="mlp")(x)
        return constraints.constrain_examples(x + Norm(self.epsilon, self.dtype, name="norm2")(y))


def shifted_time_mask(grid: Grid, side: int, shift: int) -> np.ndarray:
    """Return scores that separate beginning and end where rolling joined them: f32[windows, n, n].

    The windows of the last time steps hold both; a pair of the two gets MASKED_SCORE, others 0.
    """
    rolled_over = np.arange(side * side) // side >= side - shift
    across = grid[1] // side
    mask = np.zeros((grid[0] // side * across, side * side, side * side), np.float32)
    mask[-across:] = np.where(rolled_over[:, None] != rolled_over, MASKED_SCORE, 0.0)
    return mask


class WindowPair(nn.Module):
    """Two blocks: plain windows, then windows shifted in time; attributes as `WindowBlock`."""

    grid: Grid
    heads: int
    hidden: int
    side: int
    shift: int
    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array, _: None) -> tuple[Array, None]:
        """Map [B, n, D] -> ([B, n, D], None)."""
        for name, shift in (("plain", 0), ("shifted", self.shift)):
            shape = (self.grid, self.heads, self.hidden, self.side, shift)
            x = WindowBlock(*shape, self.epsilon, self.dtype, name=name)(x)
        return x, None


def window_stack(depth: int, *block: Any, remat: str, unroll: bool, name: str) -> nn.Module:
    """Return `depth` blocks in pairs under one scan.

    They map (x, None) -> (x, None). block: the attributes of `WindowPair`.
    """
    return scan_blocks(WindowPair, depth=depth // 2, remat=remat, unroll=unroll)(*block, name=name)
