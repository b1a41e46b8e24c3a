"""Groups of parameters: rules on parameter paths, and updates that follow them.

A path is what `tree_paths.leaf_path` writes: 'encoder/blocks/attention/qkv/kernel'. Patterns are
regular expressions that are searched for anywhere in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import jax

from maskmim.config.ranges import NonNegative, Pattern
from maskmim.tree_paths import leaf_path
from maskmim.types import Array, Tree

Factors = tuple[tuple[Pattern, NonNegative], ...]


def matches(patterns: Iterable[str], path: tuple) -> bool:
    """Return whether any pattern is found in the path of a parameter (a JAX key path)."""
    name = leaf_path(path)
    return any(re.search(pattern, name) for pattern in patterns)


def path_factor(factors: Factors, path: tuple) -> float:
    """Return the factor of the first pattern that is found in a path, 1 if none is."""
    return next((factor for pattern, factor in factors if matches((pattern,), path)), 1.0)


def axes_of_array(name: str, array: Array) -> tuple[int, ...]:
    """Return the axes over which one array's norm is taken: all, but the first below 'blocks'.

    name: the path of the array. Below 'blocks' the first axis counts blocks, and each block's array
    is one by itself.
    """
    first = 1 if "blocks" in name.split("/") else 0
    return tuple(range(first, array.ndim))


def scale_by_path(updates: Tree, factors: Factors) -> Tree:
    """Multiply each update by the factor of its path."""
    return jax.tree.map_with_path(lambda path, x: path_factor(factors, path) * x, updates)


def add_decayed_weights(
    updates: Tree, params: Tree, weight_decay: float | Array, factors: Factors
) -> Tree:
    """Add each parameter, times the weight decay and the factor of its path, to its update.

    `optax.add_decayed_weights` has one weight decay for all parameters of its mask.
    """

    def add(path: tuple, update: Array, param: Array) -> Array:
        factor = path_factor(factors, path)
        return update + weight_decay * factor * param if factor else update

    return jax.tree.map_with_path(add, updates, params)
