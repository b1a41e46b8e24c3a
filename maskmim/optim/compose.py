"""What all optimisers share: clipping before, groups of parameters, the rate of the batch after."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from maskmim.config.ranges import LearningRate, NonNegativeInt, PositiveOrInf
from maskmim.optim.path_rules import Factors, add_decayed_weights, scale_by_path
from maskmim.schedules.warmup import Span, Timed
from maskmim.types import Array, Tree

# As in MAE, biases and norms are exempt from the weight decay, class and mask tokens are not.
NO_DECAY = (r"(^|/)(bias|scale|positions)$",)


def peak_learning_rate(lr: float, lr_per: int, batch_size: int) -> float:
    """Return the peak learning rate: `lr` counts per `lr_per` examples, or is absolute if 0."""
    return lr * batch_size / lr_per if lr_per else lr


def decay_weights(weight_decay: float, no_decay: tuple[str, ...]) -> optax.GradientTransformation:
    """Return a transformation that adds the decayed weights, but those of exempt paths."""
    factors = tuple((pattern, 0.0) for pattern in no_decay)

    def decay(updates: Tree, params: Tree) -> Tree:
        return add_decayed_weights(updates, params, weight_decay, factors)

    return optax.stateless(decay)


def decay_of_step(
    step: Array, span: Span, *, start: float, end: float, stretch: float = 1.0
) -> Array:
    """Return a weight decay that moves from `start` to `end` along half a cosine: f32[].

    step:    i32[], 0 for the first, which has the weight decay `start`.
    stretch: the cosine is made for a training so many times as long, whose end is not reached, as
             of `schedules.warmup_cosine`.
    Source: cosine_scheduler of utils.py, facebookresearch/dino; CosineWDSchedule of src/utils.py,
    facebookresearch/msn.
    """
    length = span.steps * stretch
    cosine = 0.5 * (1.0 + jnp.cos(jnp.pi * step.astype(jnp.float32) / length))
    return end + (start - end) * cosine


def compose(
    *parts: optax.GradientTransformation,
    schedule: Timed,
    batch_size: int,
    lr: LearningRate,
    lr_per: NonNegativeInt,
    rates: Factors,
    clip_norm: PositiveOrInf,
) -> optax.GradientTransformation:
    """Build an optimiser: clip the gradient, then `parts`, then the learning rate of each group.

    parts:     transformations of the gradient into the direction of the step, uphill.
    lr, lr_per: the peak learning rate is lr * batch_size / lr_per; lr_per = 0 makes lr absolute.
    rates:     (pattern of a path, factor of the learning rate); the first match wins, 1 without.
    clip_norm: global gradient norm above which gradients are scaled down; inf never does.
    """
    peak = peak_learning_rate(lr, lr_per, batch_size)
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        *parts,
        optax.stateless(lambda updates, _: scale_by_path(updates, rates)),
        optax.scale_by_learning_rate(lambda step: peak * schedule(step)),
    )
