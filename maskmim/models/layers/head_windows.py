"""Attention in which each head looks within windows of its own size, over tokens in one row."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.attention import attention_scores
from maskmim.models.layers.blocks import Attention, Dtype, Mlp, Norm, scan_blocks
from maskmim.types import Array

Windows = tuple[int, ...]
draw_biases = nn.initializers.variance_scaling(0.02, "fan_in", "truncated_normal")


def biased_attention(query: Array, key: Array, value: Array, *, bias: Array) -> Array:
    """Attend as `layers.attention.plain_attention`, with a bias f32[heads, n, n] on the scores."""
    scores = attention_scores(query, key) / math.sqrt(query.shape[-1])
    weights = jax.nn.softmax(scores + bias[None], axis=-1)
    return jnp.einsum("bhqk,bhkd->bhqd", weights.astype(value.dtype), value)


def bias_counts(windows: Windows) -> list[int]:
    """Return how many biases each head has: one for each offset in its window, none without."""
    return [2 * side - 1 if side else 0 for side in windows]


def bias_places(windows: Windows, length: int) -> np.ndarray:
    """Return where the bias of each pair (query, key) stands: i32[heads, length, length].

    windows: tokens of each head's windows, which follow each other without overlap and divide
             the length; 0 for a head that looks everywhere.
    The biases of all heads stand in one row, those of a head by rising offset (query's place minus
    key's). Behind them are two more: the bias of heads without windows, and that of pairs in
    different windows.
    """
    counts, place = bias_counts(windows), np.arange(length)
    everywhere, apart = sum(counts), sum(counts) + 1
    places = np.full((len(windows), length, length), everywhere, np.int32)
    for head, side in enumerate(windows):
        if side:
            offset = place[:, None] - place[None] + side - 1 + sum(counts[:head])
            together = place[:, None] // side == place[None] // side
            places[head] = np.where(together, offset, apart)
    return places


class HeadWindowBlock(nn.Module):
    """A pre-norm block whose heads look within windows, with a learned bias for each offset.

    windows: see `bias_places`; there are as many heads.
    Source: WindowedMultiHeadAttention of src/modules/layers.py, SarthakYadav/mwmae-jax-official.
    Differences: heads are computed together, with scores that the softmax makes 0 outside windows,
    where the official code loops over them; GELU is exact, there approximated by tanh.
    """

    windows: Windows
    hidden: int
    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array, _: None) -> tuple[Array, None]:
        """Map [B, n, D] -> ([B, n, D], None)."""
        attend = partial(biased_attention, bias=self._biases(x.shape[1]))
        x = constraints.constrain_tokens(x)
        y = Norm(self.epsilon, self.dtype, name="norm1")(x)
        y, _ = Attention(len(self.windows), self.dtype, attend, name="attention")(y)
        x = constraints.constrain_tokens(x + y)
        y = Norm(self.epsilon, self.dtype, name="norm2")(x)
        y = Mlp(self.hidden, self.dtype, name="mlp")(y)
        return constraints.constrain_tokens(x + y), None

    def _biases(self, length: int) -> Array:
        """Return the bias of every pair of tokens, f32[heads, length, length]."""
        learned = self.param("window_bias", self._draw)
        others = jnp.array([0.0, jnp.finfo(jnp.float32).min], jnp.float32)
        return jnp.concatenate([learned, others])[bias_places(self.windows, length)]

    def _draw(self, key: Array) -> Array:
        """Draw the biases of all heads in one row, those of each by the size of its window."""
        keys = jax.random.split(key, len(self.windows))
        drawn = [
            draw_biases(key, (count, 1), jnp.float32)[:, 0]
            for key, count in zip(keys, bias_counts(self.windows), strict=True)
            if count
        ]
        return jnp.concatenate([jnp.zeros(0, jnp.float32), *drawn])


def head_window_stack(depth: int, *block: Any, remat: str, unroll: bool, name: str) -> nn.Module:
    """Return `depth` blocks under one scan, which map (x, None) -> (x, None).

    block: the attributes of `HeadWindowBlock`.
    """
    return scan_blocks(HeadWindowBlock, depth=depth, remat=remat, unroll=unroll)(*block, name=name)
