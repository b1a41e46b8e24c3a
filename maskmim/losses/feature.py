"""Losses between features as bricks: (prediction, target) f32[B, P, V] -> f32[B, P], in float32."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.errors import UserError
from maskmim.quantize.vector_quantize import l2_normalise
from maskmim.types import Array


class FeatureError(UserError, ValueError):
    """Features of different widths."""


def cosine(prediction: Array, target: Array) -> Array:
    """Return 1 minus the cosine of the angle between prediction and target, from 0 to 2.

    Raises FeatureError where the head's width differs from the target's.
    Source: BEiT v2 (arXiv 2208.06366), calculate_rec_loss of modeling_vqkd.py.
    `optax.losses.cosine_distance` bounds squared lengths, not lengths, and by default not at all.
    """
    if prediction.shape != target.shape:
        raise FeatureError(
            f"the head has {prediction.shape[-1]} values, the features have {target.shape[-1]}: "
            "change the head's width in config.model"
        )
    prediction, target = prediction.astype(jnp.float32), target.astype(jnp.float32)
    return 1.0 - jnp.sum(l2_normalise(prediction) * l2_normalise(target), axis=-1)
