"""Attention with a learned bias for each pair of tokens, which depends on their offset alone."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype
from maskmim.models.layers.dense import DenseGeneral
from maskmim.models.layers.init import small_normal
from maskmim.types import Array

# Rows for a class token: from it to patches, from patches to it, from it to itself.
CLASS_TOKEN_ROWS = 3


def bias_table_rows(grid: tuple[int, int], *, class_token: bool = False) -> int:
    """Count the biases of a head: one for each offset on the grid, and those of a class token."""
    rows, columns = grid
    return (2 * rows - 1) * (2 * columns - 1) + (CLASS_TOKEN_ROWS if class_token else 0)


def bias_table_index(grid: tuple[int, int], *, class_token: bool = False) -> np.ndarray:
    """Return the row of the table for each pair (query, key): i32[n, n], a class token first.

    Offsets (query's position minus key's) ascend from the most negative, rows before columns; the
    class token's three rows are the last.
    Source: WindowAttention of models/swin_transformer.py and RelativePositionBias of
    models/vision_transformer.py, microsoft/SimMIM.
    """
    rows, columns = grid
    positions = np.indices(grid).reshape(2, -1)
    down, right = positions[:, :, None] - positions[:, None, :]
    index = (down + rows - 1) * (2 * columns - 1) + right + columns - 1
    if class_token:
        first = bias_table_rows(grid)
        index = np.pad(index, ((1, 0), (1, 0)))
        index[0], index[:, 0], index[0, 0] = first, first + 1, first + 2
    return index.astype(np.int32)


def gather_biases(table: Array, index: np.ndarray) -> Array:
    """Gather the biases of all pairs of tokens: f32[rows, heads], i32[n, n] -> f32[heads, n, n]."""
    return jnp.moveaxis(table[index], -1, 0)


class BiasedAttention(nn.Module):
    """Multi-head self-attention with a bias on the scores; the softmax is in float32."""

    heads: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array, bias: Array) -> tuple[Array, Array]:
        """Map [..., n, D] -> ([..., n, D], weights of the first token f32[..., heads, n]).

        bias: f32[..., heads, n, n], broadcast over the leading dimensions.
        """
        width = x.shape[-1]
        size = width // self.heads
        qkv = DenseGeneral(
            (3, self.heads, size), kernel_init=small_normal, dtype=self.dtype, name="qkv"
        )(x)
        query, key, value = constraints.constrain_qkv(*jnp.moveaxis(qkv, (-3, -2), (0, -3)))
        scores = jnp.einsum("...qd,...kd->...qk", query, key, preferred_element_type=jnp.float32)
        bias = bias.reshape(*[1] * (scores.ndim - bias.ndim), *bias.shape)
        weights = jax.nn.softmax(scores / math.sqrt(size) + bias, axis=-1)
        mixed = jnp.einsum("...qk,...kd->...qd", weights.astype(value.dtype), value)
        mixed = jnp.moveaxis(constraints.constrain_attended(mixed), -3, -2)
        merge = DenseGeneral(
            width, axis=(-2, -1), kernel_init=small_normal, dtype=self.dtype, name="out"
        )
        return merge(mixed), weights[..., 0, :]
