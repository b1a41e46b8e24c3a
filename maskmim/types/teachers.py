"""Sources of hints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from maskmim.types.arrays import Array, Tree


def nothing() -> Tree:
    """No frozen arrays."""
    return ()


class Teacher(NamedTuple):
    """A source of hints: another set of weights, a bank of noise, the data itself.

    gives:     names of the hints it finds.
    sees_mask: False: asked before the mask is drawn, so that it may inform it; True: after.
    init:      (key, net, params) -> extra, its own part of it, () for none.
    find:      (net, extra, frozen, context, mask or None) -> {name: array}; no gradient passes.
    refresh:   (extra, params, carry, progress) -> extra.
    freeze:    () -> frozen, its own part, arrays of jax or numpy; see `Method.freeze`.
    classes:   of its hints that are indices of classes, how many classes there are.
    calls:     names of the functions of `Net.calls` that it calls with `Context.params`.
    """

    gives: tuple[str, ...]
    sees_mask: bool
    init: Callable[..., Tree]
    find: Callable[..., dict[str, Array]]
    refresh: Callable[..., Tree]
    freeze: Callable[[], Tree] = nothing
    classes: Mapping[str, int] = MappingProxyType({})
    calls: tuple[str, ...] = ()


def stateless(
    gives: tuple[str, ...],
    sees_mask: bool,
    find: Callable[..., dict[str, Array]],
    *,
    freeze: Callable[[], Tree] = nothing,
    classes: Mapping[str, int] = MappingProxyType({}),
) -> Teacher:
    """Return a teacher that keeps nothing between steps; the arguments are fields of `Teacher`."""

    def init(key: Array, net: object, params: Tree) -> Tree:
        return ()

    def refresh(extra: Tree, params: Tree, carry: Tree, progress: Array) -> Tree:
        return extra

    return Teacher(gives, sees_mask, init, find, refresh, freeze, classes)
