"""Lion: steps that are the sign of a momentum."""

from __future__ import annotations

import optax

from maskmim.config.ranges import (
    FractionBelowOne,
    LearningRate,
    NonNegative,
    NonNegativeInt,
    Pattern,
    PositiveOrInf,
)
from maskmim.optim.compose import NO_DECAY, compose, decay_weights
from maskmim.optim.path_rules import Factors
from maskmim.schedules.warmup import Timed


def lion(
    schedule: Timed,
    batch_size: int,
    *,
    lr: LearningRate = 1.5e-5,
    lr_per: NonNegativeInt = 256,
    b1: FractionBelowOne = 0.9,
    b2: FractionBelowOne = 0.99,
    weight_decay: NonNegative = 0.5,
    no_decay: tuple[Pattern, ...] = NO_DECAY,
    rates: Factors = (),
    clip_norm: PositiveOrInf = float("inf"),
) -> optax.GradientTransformation:
    """Build Lion, which keeps one number for each parameter where Adam keeps two.

    Keywords are those of every optimiser, see `compose.compose`; no_decay as in `adamw`.
    Source: Lion (arXiv 2302.06675), which advises a rate of a third to a tenth of AdamW's and a
    weight decay as many times larger; the defaults are ten times from those of `adamw`.
    """
    return compose(
        optax.scale_by_lion(b1, b2),
        decay_weights(weight_decay, no_decay),
        schedule=schedule,
        batch_size=batch_size,
        lr=lr,
        lr_per=lr_per,
        rates=rates,
        clip_norm=clip_norm,
    )
