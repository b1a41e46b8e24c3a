"""Elementwise losses as bricks: (prediction, target) f32[B, P, V] -> f32[B, P], values averaged."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.types import Array


def squared_error(prediction: Array, target: Array) -> Array:
    """The mean of squared differences over the values of a token, in float32."""
    difference = prediction.astype(jnp.float32) - target.astype(jnp.float32)
    return jnp.mean(difference**2, axis=-1)


def absolute_error(prediction: Array, target: Array) -> Array:
    """The mean of absolute differences over the values of a token, in float32."""
    difference = prediction.astype(jnp.float32) - target.astype(jnp.float32)
    return jnp.mean(jnp.abs(difference), axis=-1)
