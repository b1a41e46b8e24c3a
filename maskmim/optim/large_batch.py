"""LAMB: Adam whose steps are in proportion to the norm of each array of weights."""

from __future__ import annotations

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
from maskmim.optim.compose import NO_DECAY, compose, decay_weights
from maskmim.optim.path_rules import Factors
from maskmim.optim.trust_ratio import scale_by_trust_ratio
from maskmim.schedules.warmup import Timed


def lamb(
    schedule: Timed,
    batch_size: int,
    *,
    lr: LearningRate = 3.75e-4,
    lr_per: NonNegativeInt = 256,
    b1: FractionBelowOne = 0.9,
    b2: FractionBelowOne = 0.999,
    eps: Positive = 1e-6,
    weight_decay: NonNegative = 0.02,
    no_decay: tuple[Pattern, ...] = NO_DECAY,
    rates: Factors = (),
    clip_norm: PositiveOrInf = 1.0,
) -> optax.GradientTransformation:
    """Build LAMB, for batches so large that Adam's rate would have to be too small.

    no_decay: patterns of the paths of parameters that are neither decayed nor rescaled.
    Other keywords are those of every optimiser, see `compose.compose`. Arrays of stacked blocks
    are rescaled block by block.
    Source: LAMB (arXiv 1904.00962); exemptions and clipping as timm's; lr (3e-3 for 2,048
    examples) and weight decay are those of DeiT III (arXiv 2204.07118).
    """
    return compose(
        optax.scale_by_adam(b1, b2, eps),
        decay_weights(weight_decay, no_decay),
        scale_by_trust_ratio(1.0, no_decay),
        schedule=schedule,
        batch_size=batch_size,
        lr=lr,
        lr_per=lr_per,
        rates=rates,
        clip_norm=clip_norm,
    )
