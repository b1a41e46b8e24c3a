"""Tokens predicted as classes: the loss, the accuracy, and an objective that reports both."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.errors import UserError
from maskmim.types import Array


class SmoothingError(UserError, ValueError):
    """A share of the target that cannot be given away."""


def cross_entropy(prediction: Array, target: Array, *, smoothing: float = 0.0) -> Array:
    """Loss brick: -log of the probability of the right class, in float32.

    prediction: f32[B, P, V] logits. target: i32[B, P] classes. Returns f32[B, P], in nats.
    smoothing:  share of the target that is spread evenly over all V classes, the right one too, as
                in torch, timm and MaskGIT.
    Raises SmoothingError unless 0 <= smoothing < 1.
    """
    if not 0 <= smoothing < 1:
        raise SmoothingError(f"smoothing {smoothing}: a share of the target, from 0 to below 1")
    logits = jax.nn.log_softmax(prediction.astype(jnp.float32), axis=-1)
    right = jnp.take_along_axis(logits, target[..., None], axis=-1, mode="promise_in_bounds")
    loss = -right[..., 0]
    if smoothing:
        loss = (1.0 - smoothing) * loss - smoothing * jnp.mean(logits, axis=-1)
    return loss


def soft_cross_entropy(prediction: Array, target: Array, *, temperature: float) -> Array:
    """Loss brick: -sum of target * log softmax(prediction / temperature): f32[B, P].

    prediction, target: f32[B, P, K] logits and shares. temperature: of the prediction alone.
    """
    found = jax.nn.log_softmax(prediction.astype(jnp.float32) / temperature, axis=-1)
    return -jnp.sum(target * found, axis=-1)
