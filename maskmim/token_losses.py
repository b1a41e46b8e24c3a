"""Tokens predicted as classes: the loss, the accuracy, and an objective that reports both."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from maskmim.exits import UserError
from maskmim.objectives import match
from maskmim.types import Array, Mean, Objective, View


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


def accuracy(prediction: Array, target: Array) -> Array:
    """1 where the likeliest class is right, else 0: f32[B, P, V], i32[B, P] -> f32[B, P]."""
    return (jnp.argmax(prediction, axis=-1) == target).astype(jnp.float32)


def classify(
    *,
    head: str,
    target: Callable[[View], Array],
    loss: Callable[[Array, Array], Array] = cross_entropy,
    scale: float = 1.0,
) -> Objective:
    """A head's logits compared with the classes of the predicted tokens.

    As `objectives.match`, with the metric 'accuracy' besides, with the mask's weights.
    """
    matched = match(head=head, target=target, loss=loss, scale=scale)

    def find(view: View):
        per_token, weight, metrics, carry = matched.find(view)
        right = accuracy(view.outputs[head], target(view))
        found = Mean(jnp.sum(right * weight), jnp.sum(weight))
        return per_token, weight, {**metrics, "accuracy": found}, carry

    return matched._replace(find=find)
