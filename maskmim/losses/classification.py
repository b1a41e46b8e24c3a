"""Losses of tokens predicted as classes, as bricks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from maskmim.config.ranges import FractionBelowOne, Positive
from maskmim.errors import UserError
from maskmim.types import Array


class SmoothingError(UserError, ValueError):
    """A label smoothing outside [0, 1)."""


def cross_entropy(prediction: Array, target: Array, *, smoothing: FractionBelowOne = 0.0) -> Array:
    """Return -log of the probability of the right class, in float32: f32[B, P], in nats.

    prediction: f32[B, P, V] logits. target: i32[B, P] classes.
    smoothing:  share of the target that is spread evenly over all V classes, the right one too, as
                in torch, timm and MaskGIT.
    Raises SmoothingError unless 0 <= smoothing < 1.
    `optax.losses.softmax_cross_entropy_with_integer_labels` rounds differently and does not smooth.
    """
    _check_smoothing(smoothing)
    log_probabilities = jax.nn.log_softmax(prediction.astype(jnp.float32), axis=-1)
    right = jnp.take_along_axis(
        log_probabilities, target[..., None], axis=-1, mode="promise_in_bounds"
    )
    loss = -right[..., 0]
    if smoothing:
        loss = (1.0 - smoothing) * loss - smoothing * jnp.mean(log_probabilities, axis=-1)
    return loss


def soft_cross_entropy(prediction: Array, target: Array, *, temperature: Positive) -> Array:
    """Return -sum of target * log softmax(prediction / temperature): f32[B, P].

    prediction: f32[B, P, K] logits. target: f32[B, P, K] probabilities.
    temperature: divides the prediction only.
    """
    logits = prediction.astype(jnp.float32) / temperature
    return optax.losses.softmax_cross_entropy(logits, target)


def smoothed_cross_entropy(
    prediction: Array, target: Array, *, smoothing: FractionBelowOne = 0.0
) -> Array:
    """Return -sum of target * log softmax(prediction), the target smoothed: f32[B, P], in nats.

    prediction: f32[B, P, V] logits. target: f32[B, P, V] shares of the classes, which sum to 1.
    smoothing:  share of the target that is spread evenly over all V classes, as in `cross_entropy`,
                which this is for a target of one class.
    Raises SmoothingError unless 0 <= smoothing < 1.
    Source: SoftTargetCrossEntropy of timm, whose mixup smooths the targets that it mixes.
    """
    _check_smoothing(smoothing)
    logits = prediction.astype(jnp.float32)
    smoothed = (1.0 - smoothing) * target + smoothing / target.shape[-1]
    return optax.losses.softmax_cross_entropy(logits, smoothed)


def binary_cross_entropy(
    prediction: Array, target: Array, *, smoothing: FractionBelowOne = 0.0
) -> Array:
    """Return the cross-entropy of each label by itself, in float32: f32[B, L], in nats.

    prediction: f32[B, L] logits. target: f32[B, L] shares in [0, 1].
    smoothing:  share of the target that is replaced by 1/2, as timm's mixup of several labels does.
    Raises SmoothingError unless 0 <= smoothing < 1.
    """
    _check_smoothing(smoothing)
    logits = prediction.astype(jnp.float32)
    smoothed = (1.0 - smoothing) * target + 0.5 * smoothing
    return optax.losses.sigmoid_binary_cross_entropy(logits, smoothed)


def _check_smoothing(smoothing: float) -> None:
    if not 0 <= smoothing < 1:
        raise SmoothingError(
            f"smoothing {smoothing} is not a share of the target: give a number from 0 to below 1"
        )
