"""Losses of self-distillation, and the sharpened and centred targets of the teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from maskmim.config.ranges import Fraction, NonNegative, Positive
from maskmim.types import Array


class Distillation(NamedTuple):
    """The settings of the losses between student and teacher, see `distillation`."""

    student_temperature: float
    class_temperature: Callable[[Array], Array]
    patch_temperature: Callable[[Array], Array]
    centre_momentum: float
    class_scale: float
    patch_scale: float


def distillation(
    *,
    class_temperature: Callable[[Array], Array],
    patch_temperature: Callable[[Array], Array],
    student_temperature: Positive = 0.1,
    centre_momentum: Fraction = 0.9,
    class_scale: NonNegative = 1.0,
    patch_scale: NonNegative = 1.0,
) -> Distillation:
    """Return the settings of the losses; the defaults are those of DINO and iBOT.

    class_temperature, patch_temperature: bricks, progress -> f32[], of the teacher's softmax.
    centre_momentum: share of the centres that an update keeps.
    class_scale, patch_scale: factors of the two losses in the sum.
    Source: DINO (arXiv 2104.14294), iBOT (arXiv 2111.07832).
    """
    return Distillation(
        student_temperature,
        class_temperature,
        patch_temperature,
        centre_momentum,
        class_scale,
        patch_scale,
    )


def teacher_targets(logits: Array, centre: Array, temperature: Array | float) -> Array:
    """Return the teacher's centred and sharpened probabilities: f32[..., K], f32[K] -> f32[..., K].

    No gradient passes.
    """
    centred = jnp.broadcast_to(centre, logits.shape)
    return jax.lax.stop_gradient(jax.nn.softmax((logits - centred) / temperature, axis=-1))


def class_loss(student: Array, target: Array, temperature: float) -> Array:
    """Return the mean cross-entropy of every view against every other view's target: f32[B].

    student: f32[B, S, K] logits of S views. target: f32[B, T, K] of the first T of these views.
    """
    log_probabilities = jax.nn.log_softmax(student / temperature, axis=-1)
    pairs = -jnp.einsum(
        "btk,bsk->bts", target, log_probabilities, precision=jax.lax.Precision.HIGHEST
    )
    other = ~jnp.eye(target.shape[1], student.shape[1], dtype=bool)
    return jnp.sum(pairs, axis=(1, 2), where=other) / jnp.sum(other).astype(jnp.float32)


def patch_loss(student: Array, target: Array, weight: Array, temperature: float) -> Array:
    """Return the weighted mean cross-entropy of tokens against the same tokens' targets: f32[B].

    student, target: f32[B, P, K]. weight: f32[B, P], 1 on masked tokens and 0 elsewhere.
    The result is 0 for an example without masked tokens.
    """
    log_probabilities = jax.nn.log_softmax(student / temperature, axis=-1)
    per_token = -jnp.sum(target * log_probabilities, axis=-1)
    return jnp.sum(per_token * weight, axis=1) / jnp.maximum(jnp.sum(weight, axis=1), 1.0)


def update_centre(centre: Array, total: Array, count: Array, momentum: float) -> Array:
    """Return the EMA of the centre after a batch: f32[K].

    total: f32[K] sum of the batch's logits. count: f32[] number of logits summed.
    """
    return momentum * centre + (1.0 - momentum) * total / count
