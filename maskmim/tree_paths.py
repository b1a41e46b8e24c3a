"""Names of the leaves of nested containers: 'encoder/blocks/attention/qkv/kernel'."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax

from maskmim.types import Tree


def leaf_path(path: tuple) -> str:
    """Return a JAX key path as text with slashes."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named_leaves(tree: Tree) -> Iterator[tuple[str, Any]]:
    """Yield (path, leaf) of every leaf, in tree order."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield leaf_path(path), leaf
