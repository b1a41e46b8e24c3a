"""Soft assignments of views to prototypes: balanced targets, cross-entropy, me-max."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from maskmim.config.ranges import NonNegative, Positive, PositiveInt
from maskmim.losses.sinkhorn_knopp import sinkhorn
from maskmim.types import Array


class Assignments(NamedTuple):
    """The settings of assignments to prototypes, see `assignments`."""

    temperature: float
    sharpening: float
    iterations: int
    me_max_scale: float


def assignments(
    *,
    temperature: Positive = 0.1,
    sharpening: Positive = 0.25,
    iterations: PositiveInt = 3,
    me_max_scale: NonNegative = 1.0,
) -> Assignments:
    """Return the settings of the losses; the defaults are those of MSN's ViT-S/16.

    temperature: divides cosines with prototypes before the softmax.
    sharpening:  of targets: probabilities are raised to the power 1 / sharpening.
    iterations:  of Sinkhorn-Knopp on the targets.
    me_max_scale: factor of `entropy_gap` in the sum.
    Source: MSN (arXiv 2204.07141), configs/pretrain/msn_vits16.yaml, facebookresearch/msn.
    """
    return Assignments(temperature, sharpening, iterations, me_max_scale)


def balanced_targets(cosines: Array, settings: Assignments) -> Array:
    """Return sharpened targets that use all prototypes alike: f32[B, K] -> f32[B, K].

    Each row sums to 1. They are balanced over the batch, the global one under jit on any mesh. No
    gradient passes.
    Source: sharpen and distributed_sinkhorn of src/losses.py, facebookresearch/msn.
    """
    scores = cosines / (settings.temperature * settings.sharpening)
    scores = jax.nn.log_softmax(scores, axis=-1)
    return jax.lax.stop_gradient(sinkhorn(scores, iterations=settings.iterations))


def assignment_loss(anchors: Array, targets: Array, temperature: float) -> Array:
    """Return the mean cross-entropy of an example's anchors with its target: f32[B].

    anchors: cosines f32[B, A, K] of A views. targets: f32[B, K].
    """
    log_probabilities = jax.nn.log_softmax(anchors / temperature, axis=-1)
    exact = jax.lax.Precision.HIGHEST
    return -jnp.einsum("bak,bk->b", log_probabilities, targets, precision=exact) / anchors.shape[1]


def entropy_gap(anchors: Array, temperature: float) -> Array:
    """Return log K minus the entropy of the mean assignment of all anchors f32[B, A, K]: f32[].

    0 where all prototypes are used alike, log K where all anchors have the same one. The mean is
    over the batch, the global one under jit on any mesh; it does not add over micro-batches.
    Source: me-max of src/losses.py, facebookresearch/msn.
    """
    mean = jnp.mean(jax.nn.softmax(anchors / temperature, axis=-1), axis=(0, 1))
    return jnp.log(jnp.float32(mean.shape[-1])) - jnp.sum(jax.scipy.special.entr(mean))
