"""Trust ratios: updates in proportion to the norm of the weights, array by array."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from maskmim.optim.path_rules import axes_of_array, matches
from maskmim.tree_paths import leaf_path
from maskmim.types import Array, Tree


def scale_by_trust_ratio(
    coefficient: float, exempt: tuple[str, ...]
) -> optax.GradientTransformation:
    """Return a transformation that gives each update `coefficient` times its weights' norm.

    exempt: patterns of the paths of arrays that keep their updates, as biases and norms. Where the
    weights or the update are 0, the update stays, too. `optax.scale_by_trust_ratio` takes stacked
    blocks for one array; here each block has its own ratio.
    """

    def scale(path: tuple, update: Array, param: Array) -> Array:
        if matches(exempt, path):
            return update
        axes = axes_of_array(leaf_path(path), update)
        weights, step = (
            jnp.sqrt(jnp.sum(jnp.square(array), axis=axes, keepdims=True))
            for array in (param, update)
        )
        usual = (weights > 0) & (step > 0)
        return update * jnp.where(usual, coefficient * weights / jnp.where(usual, step, 1.0), 1.0)

    def scale_all(updates: Tree, params: Tree) -> Tree:
        return jax.tree.map_with_path(scale, updates, params)

    return optax.stateless(scale_all)
