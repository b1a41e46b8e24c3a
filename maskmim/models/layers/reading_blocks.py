"""Blocks whose tokens read others: cross-attention and an MLP, without biases.

Source: SMA (arXiv 2402.14789), modeling_sma.py, Johnathan-Xie/sma, after Perceiver IO.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.attention import Attend, attention_scores
from maskmim.models.layers.blocks import Dtype, Norm
from maskmim.models.layers.dense import Dense, DenseGeneral
from maskmim.models.layers.init import small_normal
from maskmim.types import Array


class Reading(nn.Module):
    """Multi-head attention of some tokens to others, without biases."""

    heads: int
    width: int
    dtype: Dtype
    attend: Attend

    def setup(self) -> None:
        """Make the projections, which both methods use."""
        dense = partial(DenseGeneral, use_bias=False, kernel_init=small_normal, dtype=self.dtype)
        split = partial(dense, (self.heads, self.width // self.heads))
        self.query, self.key, self.value = split(), split(), split()
        self.out = dense(self.width, axis=(-2, -1))

    def __call__(self, x: Array, seen: Array) -> Array:
        """Map [B, q, D] and what they read, [B, n, E], to [B, q, width]."""
        parts = (self.query(x), self.key(seen), self.value(seen))
        qkv = constraints.constrain_qkv(*(jnp.moveaxis(part, 1, 2) for part in parts))
        mixed = constraints.constrain_attended(self.attend(*qkv))
        return self.out(jnp.moveaxis(mixed, 1, 2))

    def weights(self, x: Array, seen: Array) -> Array:
        """Return how much each of [B, q, D] attends to each of [B, n, E], over heads: f32."""
        query, key = (jnp.moveaxis(part, 1, 2) for part in (self.query(x), self.key(seen)))
        scores = attention_scores(query, key) / math.sqrt(query.shape[-1])
        return jax.nn.softmax(scores, axis=-1).mean(axis=1)


class PlainMlp(nn.Module):
    """Two dense layers without biases and an exact GELU between them."""

    hidden: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, n, D] -> [B, n, D]."""
        dense = partial(Dense, use_bias=False, kernel_init=small_normal, dtype=self.dtype)
        up = nn.gelu(dense(self.hidden, name="up")(x), approximate=False)
        return dense(x.shape[-1], name="down")(up)


class ReadingBlock(nn.Module):
    """A pre-norm block whose tokens read others, which are normed already, or each other.

    residual: whether what is read is added to the tokens, or takes their place.
    """

    heads: int
    width: int
    hidden: int
    epsilon: float
    dtype: Dtype
    attend: Attend
    residual: bool = True

    def setup(self) -> None:
        """Make the layers, which both methods use."""
        self.norm1, self.norm2 = (Norm(self.epsilon, self.dtype) for _ in range(2))
        self.attention = Reading(self.heads, self.width, self.dtype, self.attend)
        self.mlp = PlainMlp(self.hidden, self.dtype)

    def __call__(self, x: Array, seen: Array | None = None) -> tuple[Array, None]:
        """Map [B, q, D] and what they read, [B, n, E] or themselves, to ([B, q, D], None)."""
        x = constraints.constrain_tokens(x)
        y = self.norm1(x)
        read = self.attention(y, y if seen is None else constraints.constrain_tokens(seen))
        x = constraints.constrain_tokens(x + read if self.residual else read)
        return constraints.constrain_tokens(x + self.mlp(self.norm2(x))), None

    def weights(self, x: Array, seen: Array) -> Array:
        """Return the attention of [B, q, D] to [B, n, E], over heads: f32[B, q, n]."""
        return self.attention.weights(self.norm1(x), seen)
