"""How the patches of a stream become tokens: of amounts, and of indices of classes."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype, xavier
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.init import small_normal
from maskmim.types import Array


class AmountEmbedding(nn.Module):
    """One dense layer on the values of a patch."""

    width: int
    dtype: Dtype

    @nn.compact
    def __call__(self, patches: Array) -> Array:
        """Map f32[B, n, V] -> [B, n, width]."""
        dense = Dense(self.width, kernel_init=xavier, dtype=self.dtype, name="patches")
        return constraints.embed_tokens(dense, patches.astype(self.dtype))


class ClassEmbedding(nn.Module):
    """A learned vector for each class, then one dense layer on the vectors of a patch.

    classes: how many there are. size: values of a class's vector. Any other index stands for no
    class, and its vector is zeros (ours).
    Source: SemSegInputAdapter of multimae/input_adapters.py (EPFL-VILAB/MultiMAE).
    """

    classes: int
    size: int
    width: int
    dtype: Dtype

    @nn.compact
    def __call__(self, patches: Array) -> Array:
        """Map indices i32[B, n, V] -> [B, n, width]."""
        known = (patches >= 0) & (patches < self.classes)
        table = nn.Embed(
            self.classes,
            self.size,
            embedding_init=small_normal,
            dtype=self.dtype,
            name="classes",
        )
        vectors = jnp.where(known[..., None], table(jnp.where(known, patches, 0)), 0)
        dense = Dense(self.width, kernel_init=xavier, dtype=self.dtype, name="patches")
        return constraints.embed_tokens(dense, vectors.reshape(*patches.shape[:2], -1))
