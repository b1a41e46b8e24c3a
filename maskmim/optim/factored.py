"""Adafactor: Adam whose second moments are kept as rows and columns of each matrix."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from maskmim.config.ranges import (
    FractionBelowOne,
    LearningRate,
    NonNegative,
    NonNegativeInt,
    OpenFraction,
    Pattern,
    PositiveInt,
    PositiveOrInf,
)
from maskmim.optim.compose import NO_DECAY, compose, decay_weights
from maskmim.optim.path_rules import Factors, axes_of_array
from maskmim.schedules.warmup import Timed
from maskmim.tree_paths import leaf_path
from maskmim.types import Array, Tree


def adafactor(
    schedule: Timed,
    batch_size: int,
    *,
    lr: LearningRate = 1.5e-4,
    lr_per: NonNegativeInt = 256,
    b1: FractionBelowOne = 0.9,
    b2_limit: FractionBelowOne = 0.999,
    decay_power: OpenFraction = 0.8,
    clip_update: PositiveOrInf = 1.0,
    smallest_factored: PositiveInt = 32,
    weight_decay: NonNegative = 0.05,
    no_decay: tuple[Pattern, ...] = NO_DECAY,
    rates: Factors = (),
    clip_norm: PositiveOrInf = float("inf"),
) -> optax.GradientTransformation:
    """Build Adafactor with momentum, at the learning rates of AdamW.

    b1:          of the momentum, which is not corrected for its start.
    b2_limit, decay_power: the second moments' decay at step t is min(1 - t^-decay_power, b2_limit).
    clip_update: largest root mean square of the update of one array, before the momentum.
    smallest_factored: arrays with two sides of at least this length are factored along their two
                 longest sides; others have second moments for every number.
    Other keywords are those of every optimiser, see `compose.compose`; no_decay as in `adamw`.
    Arrays of stacked blocks are treated block by block.
    Source: Adafactor (arXiv 1804.04235) as modified for ViTs by Zhai et al. (arXiv 2106.04560,
    section 3.4): with momentum, a limit of the decay, and no scaling by the parameters' size.
    Differences: the momentum is float32, Zhai's bfloat16; the weight decay is multiplied by the
    learning rate, as in AdamW.
    """

    def decay(step: Array, power: float) -> Array:
        growing = 1.0 - (jnp.asarray(step, jnp.float32) + 1.0) ** -power
        return jnp.minimum(growing, b2_limit)

    return compose(
        optax.scale_by_factored_rms(
            decay_rate=decay_power, min_dim_size_to_factor=smallest_factored, decay_rate_fn=decay
        ),
        optax.stateless(lambda updates, _: clip_root_mean_squares(updates, clip_update)),
        optax.ema(b1, debias=False),
        decay_weights(weight_decay, no_decay),
        schedule=schedule,
        batch_size=batch_size,
        lr=lr,
        lr_per=lr_per,
        rates=rates,
        clip_norm=clip_norm,
    )


def clip_root_mean_squares(updates: Tree, limit: float) -> Tree:
    """Scale each array's update down to the root mean square `limit`, blocks by themselves."""

    def clip(path: tuple, update: Array) -> Array:
        axes = axes_of_array(leaf_path(path), update)
        size = jnp.sqrt(jnp.mean(jnp.square(update), axis=axes, keepdims=True))
        return update / jnp.maximum(1.0, size / limit)

    return jax.tree.map_with_path(clip, updates)
