"""Attention with a learned bias for each pair of places, which depends on their offset alone."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype
from maskmim.models.vit import small_normal
from maskmim.types import Array

# The biases of a class token: of it to patches, of patches to it, of it to itself.
OF_CLASS = 3


def table_rows(grid: tuple[int, int], *, class_token: bool = False) -> int:
    """How many biases a head has: one for each offset on the grid, and those of a class token."""
    rows, columns = grid
    return (2 * rows - 1) * (2 * columns - 1) + (OF_CLASS if class_token else 0)


def table_index(grid: tuple[int, int], *, class_token: bool = False) -> np.ndarray:
    """The row of the table for each pair (query, key) of tokens: i32[n, n], a class token first.

    Offsets (query's place minus key's) count up from the most negative, rows before columns; the
    class token's three rows are the last ones.
    Source: WindowAttention of models/swin_transformer.py and RelativePositionBias of
    models/vision_transformer.py, microsoft/SimMIM.
    """
    rows, columns = grid
    places = np.indices(grid).reshape(2, -1)
    down, right = places[:, :, None] - places[:, None, :]
    index = (down + rows - 1) * (2 * columns - 1) + right + columns - 1
    if class_token:
        first = table_rows(grid)
        index = np.pad(index, ((1, 0), (1, 0)))
        index[0], index[:, 0], index[0, 0] = first, first + 1, first + 2
    return index.astype(np.int32)


def biases(table: Array, index: np.ndarray) -> Array:
    """A table f32[rows, heads] spread over pairs of tokens: f32[heads, n, n]."""
    return jnp.moveaxis(table[index], -1, 0)


class BiasedAttention(nn.Module):
    """Multi-head self-attention whose scores get a bias; the softmax is in float32."""

    heads: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array, bias: Array) -> tuple[Array, Array]:
        """[..., n, D] -> ([..., n, D], weights of the first token f32[..., heads, n]).

        bias: f32[..., heads, n, n], broadcast over the leading dimensions.
        """
        width = x.shape[-1]
        size = width // self.heads
        qkv = nn.DenseGeneral(
            (3, self.heads, size), kernel_init=small_normal, dtype=self.dtype, name="qkv"
        )(x)
        query, key, value = constraints.for_attention(*jnp.moveaxis(qkv, (-3, -2), (0, -3)))
        scores = jnp.einsum("...qd,...kd->...qk", query, key, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(scores / math.sqrt(size) + bias, axis=-1)
        mixed = jnp.einsum("...qk,...kd->...qd", weights.astype(value.dtype), value)
        mixed = jnp.moveaxis(constraints.from_attention(mixed), -3, -2)
        merge = nn.DenseGeneral(
            width, axis=(-2, -1), kernel_init=small_normal, dtype=self.dtype, name="out"
        )
        return merge(mixed), weights[..., 0, :]
