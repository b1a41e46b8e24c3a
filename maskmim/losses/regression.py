"""Elementwise losses as bricks: (prediction, target) f32[B, P, V] -> f32[B, P], values averaged."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from maskmim.config.ranges import Positive
from maskmim.types import Array


def squared_error(prediction: Array, target: Array) -> Array:
    """Return the mean squared difference over the values of a token, in float32."""
    squares = optax.losses.squared_error(prediction.astype(jnp.float32), target.astype(jnp.float32))
    return jnp.mean(squares, axis=-1)


def absolute_error(prediction: Array, target: Array) -> Array:
    """Return the mean absolute difference over the values of a token, in float32."""
    difference = prediction.astype(jnp.float32) - target.astype(jnp.float32)
    return jnp.mean(jnp.abs(difference), axis=-1)


def smooth_l1(prediction: Array, target: Array, *, beta: Positive = 1.0) -> Array:
    """Return the mean over the values of a token of a loss that is squared near 0, in float32.

    beta: the difference d up to which a value's loss is d^2 / (2 beta); above it is |d| - beta / 2.
    Source: Fast R-CNN (arXiv 1504.08083), with torch's SmoothL1Loss for beta.
    """
    prediction, target = prediction.astype(jnp.float32), target.astype(jnp.float32)
    return jnp.mean(optax.losses.huber_loss(prediction, target, delta=beta) / beta, axis=-1)


def focal_absolute_error(prediction: Array, target: Array, *, focus: Positive = 0.2) -> Array:
    """Return the mean of |e| (2 sigmoid(focus |e|) - 1) over the values of a token, in float32.

    Small differences e count less than by `absolute_error`, large ones as much.
    Source: Delving into Deep Imbalanced Regression (arXiv 2102.09554), focal_l1_loss of
    openmixup/models/losses/regression_loss.py, Westlake-AI/openmixup.
    """
    error = jnp.abs(prediction.astype(jnp.float32) - target.astype(jnp.float32))
    return jnp.mean(error * (2 * jax.nn.sigmoid(focus * error) - 1), axis=-1)
