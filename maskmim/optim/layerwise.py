"""AdamW whose learning rate falls from the last block of an encoder to its embedding."""

from __future__ import annotations

import re

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
    PositiveFraction,
    PositiveOrInf,
)
from maskmim.errors import UserError
from maskmim.optim.compose import compose, decay_weights
from maskmim.optim.path_rules import Factors
from maskmim.schedules.warmup import Timed
from maskmim.tree_paths import leaf_path, named_leaves
from maskmim.types import Array, Tree

# As in MAE's fine-tuning: biases, norms, tokens and positions.
NO_DECAY = (r"(^|/)(bias|scale|positions|class_token|registers|mask_token)$",)
# Arrays of the encoder: those with a row for each block, and those behind the blocks.
BLOCKS = r"^encoder/(.*/)?blocks/"
BEHIND = r"^encoder/norm/"


class LayerwiseError(UserError, ValueError):
    """A network whose blocks are not those of one stack."""


def adamw_layerwise(
    schedule: Timed,
    batch_size: int,
    *,
    lr: LearningRate = 5e-4,
    lr_per: NonNegativeInt = 256,
    decay: PositiveFraction = 0.65,
    b1: FractionBelowOne = 0.9,
    b2: FractionBelowOne = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.05,
    no_decay: tuple[Pattern, ...] = NO_DECAY,
    rates: Factors = (),
    clip_norm: PositiveOrInf = float("inf"),
) -> optax.GradientTransformation:
    """Build AdamW with layer-wise learning-rate decay, for fine-tuning a ViT.

    decay: of n blocks the last one learns at `decay` times the rate, the one before at decay^2, the
           first at decay^n, and what stands before the blocks (embedding, tokens, positions) at
           decay^(n + 1). The norm behind the blocks and all outside of `encoder` learn at the rate
           itself. 1 changes nothing.
    Other keywords are those of every optimiser, see `compose.compose`; no_decay as in `adamw`.
    The blocks are stacked in arrays, which so get a factor for each row. `init` and `update` raise
    LayerwiseError where the encoder has not one stack of blocks.
    Source: MAE's util/lr_decay.py, after BEiT; AdamW and its groups as main_finetune.py.
    """

    def by_layer(updates: Tree, params: Tree) -> Tree:
        factors = layer_factors(params, decay)
        return jax.tree.map_with_path(lambda path, x: factors[leaf_path(path)] * x, updates)

    return compose(
        optax.scale_by_adam(b1, b2, eps),
        decay_weights(weight_decay, no_decay),
        optax.stateless(by_layer),
        schedule=schedule,
        batch_size=batch_size,
        lr=lr,
        lr_per=lr_per,
        rates=rates,
        clip_norm=clip_norm,
    )


def layer_factors(params: Tree, decay: float) -> dict[str, Array]:
    """Return by path what multiplies an array's learning rate; of blocks f32[depth, 1, ...].

    Raises LayerwiseError where the encoder has not one stack of blocks.
    """
    shapes = {name: jnp.shape(leaf) for name, leaf in named_leaves(params)}
    depths = {shape[0] for name, shape in shapes.items() if re.search(BLOCKS, name)}
    if len(depths) != 1:
        raise LayerwiseError(
            f"layer-wise decay needs an encoder with one stack of blocks, and this network has "
            f"{len(depths)}: use maskmim.optim.adamw, or adamw_by_path with rates of your own"
        )
    depth = depths.pop()

    def factor(name: str, shape: tuple[int, ...]) -> Array:
        if re.search(BLOCKS, name):
            powers = decay ** jnp.arange(depth, 0, -1, dtype=jnp.float32)
            return powers.reshape(depth, *(1,) * (len(shape) - 1))
        before = name.startswith("encoder/") and not re.search(BEHIND, name)
        return jnp.float32(decay ** (depth + 1) if before else 1.0)

    return {name: factor(name, shape) for name, shape in shapes.items()}
