"""Pooling attention of MViTv2: pooled queries, keys and values, decomposed relative positions."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype, Norm
from maskmim.models.vit import small_normal
from maskmim.types import Array

Grid = tuple[int, int, int]


def pooled_grid(grid: Grid, stride: int) -> Grid:
    """The grid of (frames, rows, columns) after pooling rows and columns by a stride."""
    return grid[0], -(-grid[1] // stride), -(-grid[2] // stride)


class Pool(nn.Module):
    """A depthwise convolution of 3 x 3 x 3 over the tokens of each head, then a norm.

    The class token, which comes first, is only normalised. All heads share the kernel.
    """

    grid: Grid
    stride: int
    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, heads, 1 + N, size] -> [B, heads, 1 + N of the pooled grid, size]."""
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
        clips = constraints.by_channel(convolution(constraints.by_channel(clips)))
        tokens = jnp.concatenate([x[:, :, :1], clips.reshape(examples, heads, -1, size)], axis=2)
        return Norm(self.epsilon, self.dtype, name="norm")(tokens)


def distances(queries: int, keys: int) -> np.ndarray:
    """Which row of a table [2 max(queries, keys) - 1, ...] each query and key have, along one axis.

    i32[queries, keys]; the coarser of the two counts in steps of the finer.
    """
    of_query, of_key = max(keys / queries, 1.0), max(queries / keys, 1.0)
    apart = np.arange(queries)[:, None] * of_query - np.arange(keys) * of_key
    return (apart + (keys - 1) * of_key).astype(np.int32)


class RelativePositions(nn.Module):
    """What positions add to the scores: along each axis, query times the table at the distance.

    queries, keys: their grids.
    """

    queries: Grid
    keys: Grid

    @nn.compact
    def __call__(self, query: Array) -> Array:
        """Pooled queries without class token [B, heads, n, size] -> f32[B, heads, n, keys]."""
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
                table[distances(queries, keys)],
                preferred_element_type=jnp.float32,
            )
            others = [place for place in (-3, -2, -1) if place != axis - 3]
            total = total + jnp.expand_dims(added, others)
        return total.reshape(*query.shape[:3], math.prod(self.keys))


class PoolingAttention(nn.Module):
    """Multi-head attention over pooled tokens, whose pooled queries are added to what they find.

    grid: of the tokens that enter. query_stride, key_stride: of pooling in rows and columns; time
    is never pooled. The class token comes first, has no position and is not added again.
    """

    heads: int
    grid: Grid
    query_stride: int
    key_stride: int
    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, 1 + N, D] -> [B, 1 + N of the pooled grid, D]."""
        width = x.shape[-1]
        size = width // self.heads
        qkv = nn.DenseGeneral(
            (3, self.heads, size), kernel_init=small_normal, dtype=self.dtype, name="qkv"
        )(x)
        query, key, value = jnp.moveaxis(qkv, (2, 3), (0, 2))
        how = self.epsilon, self.dtype
        query = Pool(self.grid, self.query_stride, *how, name="pool_query")(query)
        key = Pool(self.grid, self.key_stride, *how, name="pool_key")(key)
        value = Pool(self.grid, self.key_stride, *how, name="pool_value")(value)
        queries = pooled_grid(self.grid, self.query_stride)
        keys = pooled_grid(self.grid, self.key_stride)
        found = jnp.einsum(
            "bhqd,bhkd->bhqk",
            query / math.sqrt(size),
            key,
            preferred_element_type=jnp.float32,
        )
        added = RelativePositions(queries, keys, name="relative")(query[:, :, 1:])
        found = found + jnp.pad(added, ((0, 0), (0, 0), (1, 0), (1, 0)))
        weights = jax.nn.softmax(found, axis=-1).astype(value.dtype)
        mixed = jnp.einsum("bhqk,bhkd->bhqd", weights, value)
        mixed = mixed.at[:, :, 1:].add(query[:, :, 1:])
        merge = nn.DenseGeneral(
            width, axis=(-2, -1), kernel_init=small_normal, dtype=self.dtype, name="out"
        )
        return merge(jnp.moveaxis(mixed, 1, 2))
