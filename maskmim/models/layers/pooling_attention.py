"""Pooling attention of MViTv2: pooled queries, keys and values, decomposed relative positions."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype, Norm
from maskmim.models.layers.dense import DenseGeneral
from maskmim.models.layers.init import small_normal
from maskmim.types import Array

Grid = tuple[int, int, int]


def pooled_grid(grid: Grid, stride: int) -> Grid:
    """Return the grid (frames, rows, columns) after pooling rows and columns by a stride."""
    return grid[0], -(-grid[1] // stride), -(-grid[2] // stride)


class Pool(nn.Module):
    """A depthwise convolution of 3 x 3 x 3 over the tokens of each head, then a norm.

    The class token, which comes first, is normalised only. All heads share the kernel.
    """

    grid: Grid
    stride: int
    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Pool [B, heads, 1 + N, size] -> [B, heads, 1 + N of the pooled grid, size]."""
        examples, heads, _, size = x.shape
        clips = x[:, :, 1:].reshape(examples * heads, *self.grid, size)
        convolution = nn.Conv(
            size,
            (3, 3, 3),
            strides=(1, self.stride, self.stride),
            padding=((1, 1),) * 3,
            feature_group_count=size,
            use_bias=False,
            kernel_init=small_normal,
            dtype=self.dtype,
            name="conv",
        )
        clips = constraints.constrain_depthwise(convolution(constraints.constrain_depthwise(clips)))
        tokens = jnp.concatenate([x[:, :, :1], clips.reshape(examples, heads, -1, size)], axis=2)
        return Norm(self.epsilon, self.dtype, name="norm")(tokens)


def distance_index(queries: int, keys: int) -> np.ndarray:
    """Return the row of a position table for each query and key along one axis.

    The table is [2 max(queries, keys) - 1, ...], the index i32[queries, keys]; distances are in
    steps of the finer of the two grids.
    """
    query_step, key_step = max(keys / queries, 1.0), max(queries / keys, 1.0)
    distances = np.arange(queries)[:, None] * query_step - np.arange(keys) * key_step
    return (distances + (keys - 1) * key_step).astype(np.int32)


class RelativePositions(nn.Module):
    """Decomposed relative positions: along each axis, query times the table at the distance.

    queries, keys: their grids.
    """

    queries: Grid
    keys: Grid

    @nn.compact
    def __call__(self, query: Array) -> Array:
        """Return what to add to the scores: f32[B, heads, n, keys].

        query: pooled, without class token: [B, heads, n, size].
        """
        split = query.reshape(*query.shape[:2], *self.queries, query.shape[-1])
        total = 0.0
        for axis, name in enumerate(("time", "row", "column")):
            queries, keys = self.queries[axis], self.keys[axis]
            shape = 2 * max(queries, keys) - 1, query.shape[-1]
            table = self.param(f"{name}_positions", small_normal, shape).astype(query.dtype)
            letter = "tyx"[axis]
            added = jnp.einsum(
                f"bhtyxd,{letter}kd->bhtyxk",
                split,
                table[distance_index(queries, keys)],
                preferred_element_type=jnp.float32,
            )
            other_axes = [other for other in (-3, -2, -1) if other != axis - 3]
            total = total + jnp.expand_dims(added, other_axes)
        return total.reshape(*query.shape[:3], math.prod(self.keys))


class PoolingAttention(nn.Module):
    """Multi-head attention over pooled tokens, with the pooled queries added to the result.

    grid: of the tokens that enter. query_stride, key_stride: of pooling in rows and columns; time
    is never pooled. The class token comes first, has no position, and its query is not added.
    """

    heads: int
    grid: Grid
    query_stride: int
    key_stride: int
    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, 1 + N, D] -> [B, 1 + N of the pooled grid, D]."""
        width = x.shape[-1]
        size = width // self.heads
        qkv = DenseGeneral(
            (3, self.heads, size), kernel_init=small_normal, dtype=self.dtype, name="qkv"
        )(x)
        query, key, value = jnp.moveaxis(qkv, (2, 3), (0, 2))
        norm = self.epsilon, self.dtype
        query = Pool(self.grid, self.query_stride, *norm, name="pool_query")(query)
        key = Pool(self.grid, self.key_stride, *norm, name="pool_key")(key)
        value = Pool(self.grid, self.key_stride, *norm, name="pool_value")(value)
        queries = pooled_grid(self.grid, self.query_stride)
        keys = pooled_grid(self.grid, self.key_stride)
        scores = jnp.einsum(
            "bhqd,bhkd->bhqk",
            query / math.sqrt(size),
            key,
            preferred_element_type=jnp.float32,
        )
        added = RelativePositions(queries, keys, name="relative")(query[:, :, 1:])
        scores = scores + jnp.pad(added, ((0, 0), (0, 0), (1, 0), (1, 0)))
        weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
        mixed = jnp.einsum("bhqk,bhkd->bhqd", weights, value)
        mixed = mixed.at[:, :, 1:].add(query[:, :, 1:])
        merge = DenseGeneral(
            width, axis=(-2, -1), kernel_init=small_normal, dtype=self.dtype, name="out"
        )
        return merge(jnp.moveaxis(mixed, 1, 2))
