"""SGD with momentum, alone and with the layer-wise rates of LARS."""

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


def sgd(
    schedule: Timed,
    batch_size: int,
    *,
    lr: LearningRate = 0.1,
    lr_per: NonNegativeInt = 256,
    momentum: FractionBelowOne = 0.9,
    nesterov: bool = False,
    weight_decay: NonNegative = 1e-4,
    no_decay: tuple[Pattern, ...] = NO_DECAY,
    rates: Factors = (),
    clip_norm: PositiveOrInf = float("inf"),
) -> optax.GradientTransformation:
    """Build SGD with momentum; the weight decay is added to the gradient, as in torch.

    momentum: 0 for none. nesterov: look one step of the momentum ahead.
    Other keywords are those of every optimiser, see `compose.compose`; no_decay as in `adamw`.
    Source: torch.optim.SGD without dampening; lr of 0.1 for 256 examples and weight decay of 1e-4
    are those of ResNet (arXiv 1512.03385) on ImageNet.
    """
    return compose(
        decay_weights(weight_decay, no_decay),
        optax.trace(momentum, nesterov),
        schedule=schedule,
        batch_size=batch_size,
        lr=lr,
        lr_per=lr_per,
        rates=rates,
        clip_norm=clip_norm,
    )


def lars(
    schedule: Timed,
    batch_size: int,
    *,
    lr: LearningRate = 0.3,
    lr_per: NonNegativeInt = 256,
    momentum: FractionBelowOne = 0.9,
    trust_coefficient: Positive = 1e-3,
    weight_decay: NonNegative = 1e-6,
    no_decay: tuple[Pattern, ...] = NO_DECAY,
    rates: Factors = (),
    clip_norm: PositiveOrInf = float("inf"),
) -> optax.GradientTransformation:
    """Build LARS: SGD whose steps are in proportion to the norm of each array of weights.

    trust_coefficient: share of an array's norm that a step of rate 1 has, before momentum.
    no_decay: patterns of the paths of parameters that are neither decayed nor rescaled.
    Other keywords are those of every optimiser, see `compose.compose`. Arrays of stacked blocks
    are rescaled block by block.
    Source: LARS (arXiv 1708.03888) as in MAE (util/lars.py); lr and weight decay are SimCLR's
    (arXiv 2002.05709). The rate multiplies the momentum, as there and in torch; `optax.lars`
    multiplies the gradient before the momentum, which differs where the rate changes.
    """
    return compose(
        decay_weights(weight_decay, no_decay),
        scale_by_trust_ratio(trust_coefficient, no_decay),
        optax.trace(momentum),
        schedule=schedule,
        batch_size=batch_size,
        lr=lr,
        lr_per=lr_per,
        rates=rates,
        clip_norm=clip_norm,
    )
