"""The network itself as a teacher: hints of the parameters of the same step, without a gradient."""

from __future__ import annotations

from collections.abc import Callable

from maskmim.teachers.average import check_gives
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree


def current(*, find: Callable[[Net, Tree, Context], dict[str, Array]]) -> Teacher:
    """Return a teacher that has the parameters of the step and sees examples before the mask.

    find: brick, (net, params, context) -> {hint: array}, as of `teachers.average`.
    It holds no arrays; no gradient passes. Raises AverageError where find declares no hints.
    Source: Self-Guided MAE (arXiv 2507.19773), whose masks come from the network in training.
    """
    gives = check_gives(find)

    def init(key: Array, net: Net, params: Tree) -> Tree:
        return ()

    def find_hints(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        return find(net, context.params, context)

    def refresh(extra: Tree, params: Tree, carry: Tree, progress: Array) -> Tree:
        return extra

    return Teacher(gives, False, init, find_hints, refresh)
