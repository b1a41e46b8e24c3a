"""Logits of tokens against prototypes of clusters."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from maskmim.quantize.vector_quantize import l2_normalise
from maskmim.types import Array


def prototype_logits(prototypes: Mapping[str, Array], features: Array) -> Array:
    """Return the products of l2-normalised tokens with the prototypes: [..., D] -> f32[..., K].

    prototypes: 'kernel' f32[D, K] and 'bias' f32[K].
    """
    tokens = l2_normalise(features.astype(jnp.float32), epsilon=1e-7).astype(features.dtype)
    kernel = prototypes["kernel"].astype(features.dtype)
    products = jnp.einsum("...d,dk->...k", tokens, kernel, preferred_element_type=jnp.float32)
    return products + jnp.broadcast_to(prototypes["bias"], products.shape)
