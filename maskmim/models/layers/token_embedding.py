"""Amounts or indices as tokens, with learnt positions."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype, Norm
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.init import small_normal
from maskmim.models.layers.patches import gather
from maskmim.types import Array

# Of the norms of embedded tokens, and of what heads read, as in BERT.
EMBEDDING_EPS = 1e-12


class TokenEmbedding(nn.Module):
    """Amounts or indices as tokens: a dense layer or a table, learnt positions, and a norm.

    vocabulary: rows of the table; 0 for amounts.
    """

    length: int
    width: int
    vocabulary: int
    dtype: Dtype

    @nn.compact
    def __call__(self, patches: Array, visible: Array | None) -> Array:
        """Embed the visible ones, i32[B, K], None for all, of [B, N, V]: [B, K, width]."""
        positions = self.param("positions", small_normal, (self.length, self.width))
        positions = jnp.asarray(positions, self.dtype)[None]
        if visible is not None:
            patches = constraints.constrain_examples(gather(patches, visible))
            positions = positions[0].at[visible].get(mode="promise_in_bounds")
        tokens = constraints.embed_tokens(self._layer(), patches)
        return Norm(EMBEDDING_EPS, self.dtype, name="norm")(tokens + positions)

    def _layer(self) -> Callable[[Array], Array]:
        if self.vocabulary:
            sizes = self.vocabulary, self.width
            start = {"embedding_init": small_normal, "dtype": self.dtype, "name": "embed"}
            table = nn.Embed(*sizes, **start)
            return lambda indices: table(indices[..., 0].astype(jnp.int32))
        dense = Dense(self.width, kernel_init=small_normal, dtype=self.dtype, name="embed")
        return lambda patches: dense(patches.astype(self.dtype))
