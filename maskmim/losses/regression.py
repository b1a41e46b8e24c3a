"""Elementwise losses as bricks: (prediction, target) f32[B, P, V] -> f32[B, P], values averaged."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from maskmim.types import Array


def squared_error(prediction: Array, target: Array) -> Array:
    """Return the mean squared difference over the values of a token, in float32."""
    squares = optax.losses.squared_error(prediction.astype(jnp.float32), target.astype(jnp.float32))
    return jnp.mean(squares, axis=-1)


def absolute_error(prediction: Array, target: Array) -> Array:
    """Return the mean absolute difference over the values of a token, in float32."""
    difference = prediction.astype(jnp.float32) - target.astype(jnp.float32)
    return jnp.mean(jnp.abs(difference), axis=-1)
