"""AdamW with factors of learning rate and weight decay for groups of parameters."""

from __future__ import annotations

import optax

from maskmim.config.ranges import (
    FractionBelowOne,
    LearningRate,
    NonNegative,
    NonNegativeInt,
    Positive,
)
from maskmim.optim.compose import peak_learning_rate
from maskmim.optim.path_rules import Factors, add_decayed_weights, scale_by_path
from maskmim.schedules.warmup import Timed
from maskmim.types import Tree


def adamw_by_path(
    schedule: Timed,
    batch_size: int,
    *,
    lr: LearningRate,
    lr_per: NonNegativeInt = 256,
    b1: FractionBelowOne = 0.9,
    b2: FractionBelowOne = 0.95,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.05,
    rates: Factors = (),
    decays: Factors = ((r"(^|/)(bias|scale|positions)$", 0.0),),
) -> optax.GradientTransformation:
    """Build AdamW as `optim.adamw`, with factors for groups of parameters.

    rates:  (pattern, factor of the learning rate), the first match wins, 1 without a match.
    decays: the same for the weight decay, which is multiplied by the learning rate, too.
    As Adam treats every number by itself, one Adam with factors equals several optimisers with
    equal betas; two losses stay separate where their gradients are.
    """
    peak = peak_learning_rate(lr, lr_per, batch_size)

    def decay(updates: Tree, params: Tree) -> Tree:
        return add_decayed_weights(updates, params, weight_decay, decays)

    return optax.chain(
        optax.scale_by_adam(b1, b2, eps),
        optax.stateless(decay),
        optax.stateless(lambda updates, _: scale_by_path(updates, rates)),
        optax.scale_by_learning_rate(lambda step: peak * schedule(step)),
    )
