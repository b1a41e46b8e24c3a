"""AdamW whose learning rate and weight decay are scaled by rules on parameter paths."""

from __future__ import annotations

import re

import jax
import optax

from maskmim.optim.adam import peak
from maskmim.schedules.warmup import Timed
from maskmim.tree_paths import leaf_path
from maskmim.types import Tree

Factors = tuple[tuple[str, float], ...]


def adamw_by_path(
    schedule: Timed,
    batch_size: int,
    *,
    lr: float,
    lr_per: int = 256,
    b1: float = 0.9,
    b2: float = 0.95,
    eps: float = 1e-8,
    weight_decay: float = 0.05,
    rates: Factors = (),
    decays: Factors = ((r"(^|/)(bias|scale|positions)$", 0.0),),
) -> optax.GradientTransformation:
    """AdamW as `optim.adamw`, with factors for the parameters that a pattern finds.

    rates:  (regular expression, factor of the learning rate), the first match wins, 1 without any.
    decays: the same for the weight decay, which is multiplied by the learning rate besides.
    One Adam with factors does what several optimisers with equal betas do, as it treats every
    number by itself; two losses stay apart where their gradients do.
    """
    top = peak(lr, lr_per, batch_size)

    def decayed(updates: Tree, params: Tree) -> Tree:
        def add(path: tuple, update: jax.Array, param: jax.Array) -> jax.Array:
            return update + weight_decay * factor(decays, path) * param

        return jax.tree.map_with_path(add, updates, params)

    def scaled(updates: Tree, params: Tree) -> Tree:
        return jax.tree.map_with_path(lambda path, x: factor(rates, path) * x, updates)

    return optax.chain(
        optax.scale_by_adam(b1, b2, eps),
        optax.stateless(decayed),
        optax.stateless(scaled),
        optax.scale_by_learning_rate(lambda step: top * schedule(step)),
    )


def factor(rules: Factors, path: tuple) -> float:
    """The factor of the first rule that finds a parameter's path, 1 without any."""
    name = leaf_path(path)
    return next((value for pattern, value in rules if re.search(pattern, name)), 1.0)
