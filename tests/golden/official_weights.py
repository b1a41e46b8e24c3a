"""Arrays that golden cases hand to the official models and to ours, by their official names."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import jax
import numpy as np

from maskmim.interop.layout import Entry, arrays_of, check_covered, params_of
from maskmim.tree_paths import named_leaves
from maskmim.types import Tree


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers that depend on the name alone."""
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)


def large(name: str, shape: tuple[int, ...], *, spread: float = 0.4) -> np.ndarray:
    """Large random weights f32, so that every part matters; scales of norms lie around 1."""
    numbers = drawn(name, shape)
    norm = "norm" in name and name.endswith("weight")
    return (1 + 0.2 * numbers if norm else spread * numbers).astype(np.float32)


def params_by_name(
    layout: Sequence[Entry], ours: Tree, weight: Callable[[str, tuple[int, ...]], np.ndarray]
) -> tuple[Tree, dict[str, tuple[int, ...]]]:
    """Return params whose arrays are those of the official names, and {official name: shape}.

    ours: params or their shapes. weight: (official name, shape) -> its array.
    """
    shapes = {path: leaf.shape for path, leaf in named_leaves(ours)}
    check_covered(layout, shapes, "the official layout")
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape), ours)
    theirs = {name: array.shape for name, array in arrays_of(layout, blank).items()}
    weights = {name: weight(name, shape) for name, shape in theirs.items()}
    return params_of(layout, shapes, weights), theirs
