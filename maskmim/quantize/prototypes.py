"""Prototypes of unit vectors."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from maskmim.quantize.vector_quantize import unit
from maskmim.types import Array


def logits(prototypes: Mapping[str, Array], features: Array) -> Array:
    """Products of tokens of length 1 with the prototypes: [..., D] -> f32[..., K]."""
    tokens = unit(features.astype(jnp.float32), epsilon=1e-7).astype(features.dtype)
    kernel = prototypes["kernel"].astype(features.dtype)
    found = jnp.einsum("...d,dk->...k", tokens, kernel, preferred_element_type=jnp.float32)
    return found + prototypes["bias"]
