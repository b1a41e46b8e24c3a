"""Starts of training other than Xavier's: parameters drawn again by rules on their paths."""

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
narrow_normal = nn.initializers.truncated_normal(0.02, lower=-1.0, upper=1.0)


def normal(key: Array, old: Array) -> Array:
    """N(0, 0.02), where BERT and its successors start."""
    return 0.02 * jax.random.normal(key, old.shape, old.dtype)


def narrow(key: Array, old: Array) -> Array:
    """N(0, 0.02) cut off at one deviation on either side, where BEiT and its successors start."""
    return narrow_normal(key, old.shape, old.dtype)


def normal_by_depth(key: Array, old: Array) -> Array:
    """N(0, 0.02) over sqrt(2 l) in block l = 1, 2, ...; the blocks are the first dimension.

    Source: fix_init_weight of BEiT and of models/vision_transformer.py, microsoft/SimMIM.
    """
    block = jnp.arange(1, len(old) + 1, dtype=old.dtype)
    return normal(key, old) / jnp.sqrt(2 * block).reshape(-1, *(1,) * (old.ndim - 1))


def started(net: Net, rules: Sequence[tuple[str, Draw]]) -> Net:
    """The network with parameters drawn again after `init`.

    rules: (pattern of the parameter's path, (key, array) -> array); the first match wins, what
    matches none stays as it is.
    """

    def init(key: Array) -> Tree:
        def draw(path: tuple, leaf: Array) -> Array:
            name = leaf_path(path)
            own = jax.random.fold_in(key, zlib.crc32(name.encode()))
            return next((rule(own, leaf) for at, rule in rules if re.search(at, name)), leaf)

        return jax.tree.map_with_path(draw, net.init(key))

    return net._replace(init=init)
