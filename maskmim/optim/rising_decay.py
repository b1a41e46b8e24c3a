"""AdamW with a weight decay that rises along part of a cosine, and a clip that spares some."""

from __future__ import annotations

import jax
import jax.numpy as jnp
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
from maskmim.optim.compose import decay_of_step, peak_learning_rate
from maskmim.optim.path_rules import add_decayed_weights, matches
from maskmim.schedules.warmup import Timed
from maskmim.types import Array, Tree


def adamw_rising_decay(
    schedule: Timed,
    batch_size: int,
    *,
    lr: LearningRate = 1e-3,
    lr_per: NonNegativeInt = 0,
    b1: FractionBelowOne = 0.9,
    b2: FractionBelowOne = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.04,
    weight_decay_end: NonNegative = 0.4,
    stretch: Positive = 1.25,
    no_decay: tuple[Pattern, ...] = (r"(^|/)(bias|scale)$", r"^prototypes/"),
    clip_norm: PositiveOrInf = 3.0,
    unclipped: tuple[Pattern, ...] = (r"^prototypes/",),
) -> optax.GradientTransformation:
    """Build AdamW whose weight decay follows part of half a cosine over the training.

    schedule, batch_size, lr, lr_per, no_decay: as in `optim.adamw`.
    weight_decay, weight_decay_end, stretch: as of `optim.adamw_dino`.
    clip_norm: largest norm of the gradient of all parameters together but those of `unclipped`,
               patterns of paths; inf never clips.
    Source: init_opt of src/msn_train.py and CosineWDSchedule of src/utils.py, facebookresearch/msn;
    AdamW and clip_grad_norm_ of torch. Difference: the weight decay of a step is officially that of
    the step after.
    """
    peak = peak_learning_rate(lr, lr_per, batch_size)
    factors = tuple((pattern, 0.0) for pattern in no_decay)

    def clip(gradients: Tree, _: Tree) -> Tree:
        def square(path: tuple, gradient: Array) -> Array:
            return jnp.float32(0.0) if matches(unclipped, path) else jnp.sum(gradient**2)

        norm = jnp.sqrt(sum(jax.tree.leaves(jax.tree.map_with_path(square, gradients))))
        factor = jnp.minimum(1.0, clip_norm / (norm + 1e-6))
        return jax.tree.map_with_path(
            lambda path, x: x if matches(unclipped, path) else factor * x, gradients
        )

    def decay(
        updates: Tree, state: optax.ScaleByScheduleState, params: Tree
    ) -> tuple[Tree, optax.ScaleByScheduleState]:
        amount = decay_of_step(
            state.count, schedule.span, start=weight_decay, end=weight_decay_end, stretch=stretch
        )
        updates = add_decayed_weights(updates, params, amount, factors)
        return updates, optax.ScaleByScheduleState(state.count + 1)

    def init(params: Tree) -> optax.ScaleByScheduleState:
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    return optax.chain(
        optax.stateless(clip),
        optax.scale_by_adam(b1, b2, eps),
        optax.GradientTransformation(init, decay),
        optax.scale_by_learning_rate(lambda step: peak * schedule(step)),
    )
