"""Names of the leaves of nested containers: 'encoder/blocks/attention/qkv/kernel'."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def grouped_paths(paths: Iterable[str], every: Iterable[str]) -> list[str]:
    """Return paths, with a section in place of its paths where all that it has are among them.

    every: all paths that there are. grouped_paths(['a/b', 'a/c'], ['a/b', 'a/c', 'd']) == ['a'].
    """
    chosen = dict.fromkeys(paths)
    others = {
        path[:end]
        for path in every
        if path not in chosen
        for end in (index for index, sign in enumerate(path) if sign == "/")
    }
    names = {}
    for path in chosen:
        ends = [index for index, sign in enumerate(path) if sign == "/"]
        section = next((path[:end] for end in ends if path[:end] not in others), path)
        names[section] = None
    return list(names)
