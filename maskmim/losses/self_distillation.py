"""Self-distillation: sharpened and centred targets of a teacher, and the losses against them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from maskmim.types import Array


class Distillation(NamedTuple):
    """How a student is compared with its teacher, see `distillation`."""

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
    student_temperature: float = 0.1,
    centre_momentum: float = 0.9,
    class_scale: float = 1.0,
    patch_scale: float = 1.0,
) -> Distillation:
    """The settings of the losses; DINO's and iBOT's where there are defaults.

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


def targets(logits: Array, centre: Array, temperature: Array | float) -> Array:
    """What the teacher says, centred and sharpened: f32[..., K], f32[K] -> f32[..., K] that sum to
    1. No gradient passes."""
    return jax.lax.stop_gradient(jax.nn.softmax((logits - centre) / temperature, axis=-1))


def class_loss(student: Array, target: Array, temperature: float) -> Array:
    """Cross-entropy of every view against the targets of every other view, the mean: f32[B].

    student: f32[B, S, K] logits of S views. target: f32[B, T, K] of the first T of these views.
    """
    said = jax.nn.log_softmax(student / temperature, axis=-1)
    pairs = -jnp.einsum("btk,bsk->bts", target, said, precision=jax.lax.Precision.HIGHEST)
    other = ~jnp.eye(target.shape[1], student.shape[1], dtype=bool)
    return jnp.sum(pairs, axis=(1, 2), where=other) / jnp.sum(other)


def patch_loss(student: Array, target: Array, weight: Array, temperature: float) -> Array:
    """Cross-entropy of tokens against the same tokens' targets, the mean over those that weigh.

    student, target: f32[B, P, K]. weight: f32[B, P], 1 on masked tokens and 0 elsewhere.
    Returns f32[B], 0 for an example without any masked token.
    """
    said = jax.nn.log_softmax(student / temperature, axis=-1)
    per_token = -jnp.sum(target * said, axis=-1)
    return jnp.sum(per_token * weight, axis=1) / jnp.maximum(jnp.sum(weight, axis=1), 1.0)


def moved(centre: Array, total: Array, count: Array, momentum: float) -> Array:
    """The centre after a batch whose logits sum to `total` f32[K] over `count` of them."""
    return momentum * centre + (1.0 - momentum) * total / count
