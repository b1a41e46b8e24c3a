"""AdamW whose learning rate is scaled to the batch size."""

from __future__ import annotations

import jax
import optax

from maskmim.config.ranges import (
    FractionBelowOne,
    LearningRate,
    NonNegative,
    NonNegativeInt,
    Pattern,
    Positive,
    PositiveOrInf,
)
from maskmim.optim.compose import NO_DECAY, peak_learning_rate
from maskmim.optim.path_rules import matches
from maskmim.schedules.warmup import Timed
from maskmim.types import Tree


def adamw(
    schedule: Timed,
    batch_size: int,
    *,
    lr: LearningRate = 1.5e-4,
    lr_per: NonNegativeInt = 256,
    b1: FractionBelowOne = 0.9,
    b2: FractionBelowOne = 0.95,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.05,
    no_decay: tuple[Pattern, ...] = NO_DECAY,
    clip_norm: PositiveOrInf = float("inf"),
) -> optax.GradientTransformation:
    """Build AdamW with the learning rate scaled to the effective batch size.

    schedule:   step -> factor in [0, 1] of the peak learning rate.
    batch_size: the effective batch size, over all devices and micro-batches.
    lr, lr_per: the peak learning rate is lr * batch_size / lr_per; lr_per = 0 makes lr absolute.
    no_decay:   patterns of the paths of parameters that are not decayed. As in MAE, biases and
                norms are exempt, class and mask tokens are not (timm's rule exempts 1-D arrays; its
                tokens have three dimensions).
    clip_norm:  global gradient norm above which gradients are scaled down; inf never does.
    """
    peak = peak_learning_rate(lr, lr_per, batch_size)

    def decay_mask(params: Tree) -> Tree:
        return jax.tree.map_with_path(lambda path, _: not matches(no_decay, path), params)

    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.adamw(
            lambda step: peak * schedule(step),
            b1,
            b2,
            eps,
            weight_decay=weight_decay,
            mask=decay_mask,
        ),
    )
