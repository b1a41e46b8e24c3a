"""Initialisation other than Xavier's: redraw parameters by rules on their paths."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.tree_paths import leaf_path
from maskmim.types import Array, Net, Tree

Draw = Callable[[Array, Array], Array]
small_normal = nn.initializers.normal(0.02)
narrow_normal = nn.initializers.truncated_normal(0.02, lower=-1.0, upper=1.0)


def draw_normal(key: Array, old: Array) -> Array:
    """Draw from N(0, 0.02), as BERT and its successors do."""
    return 0.02 * jax.random.normal(key, old.shape, old.dtype)


def draw_narrow_normal(key: Array, old: Array) -> Array:
    """Draw from N(0, 0.02) truncated at one standard deviation, as BEiT and its successors do."""
    return narrow_normal(key, old.shape, old.dtype)


def draw_normal_by_depth(key: Array, old: Array) -> Array:
    """Draw from N(0, 0.02 / sqrt(2 l)) for block l = 1, 2, ...; the first dimension is blocks.

    Source: fix_init_weight of BEiT and of models/vision_transformer.py, microsoft/SimMIM.
    """
    block = jnp.arange(1, len(old) + 1, dtype=old.dtype)
    return draw_normal(key, old) / jnp.sqrt(2 * block).reshape(-1, *(1,) * (old.ndim - 1))


def with_init(net: Net, rules: Sequence[tuple[str, Draw]]) -> Net:
    """Return the network with parameters drawn again after `init`.

    rules: (pattern of the parameter's path, (key, array) -> array); the first match wins, and a
    parameter without a match keeps its value.
    """

    def init(key: Array) -> Tree:
        def draw(path: tuple, leaf: Array) -> Array:
            name = leaf_path(path)
            leaf_key = jax.random.fold_in(key, zlib.crc32(name.encode()))
            matches = (rule for pattern, rule in rules if re.search(pattern, name))
            rule = next(matches, None)
            return leaf if rule is None else rule(leaf_key, leaf)

        return jax.tree.map_with_path(draw, net.init(key))

    return net._replace(init=init)
