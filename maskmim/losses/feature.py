"""Losses between features: (prediction, target) f32[B, P, V] -> f32[B, P], in float32."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.errors import UserError
from maskmim.quantize.vector_quantize import unit
from maskmim.types import Array


class FeatureError(UserError, ValueError):
    """Features of different widths."""


def cosine(prediction: Array, target: Array) -> Array:
    """1 less the cosine of the angle between both, from 0 to 2.

    Raises FeatureError where the head's width is not the target's.
    Source: BEiT v2 (arXiv 2208.06366), calculate_rec_loss of modeling_vqkd.py.
    """
    if prediction.shape != target.shape:
        raise FeatureError(
            f"a head of {prediction.shape[-1]} values meets features of {target.shape[-1]}: change "
            "the head's width in config.model"
        )
    prediction, target = prediction.astype(jnp.float32), target.astype(jnp.float32)
    return 1.0 - jnp.sum(unit(prediction) * unit(target), axis=-1)
