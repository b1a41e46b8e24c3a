"""The network itself as a teacher: hints of the parameters of the same step, without a gradient."""

from __future__ import annotations

from collections.abc import Callable

from maskmim.teachers.average import check_gives
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree, stateless


def current(*, find: Callable[[Net, Tree, Context], dict[str, Array]]) -> Teacher:
    """Return a teacher that has the parameters of the step and sees examples before the mask.

    find: brick, (net, params, context) -> {hint: array}, as of `teachers.average`.
    It holds no arrays; no gradient passes. Raises AverageError where find declares no hints.
    Source: Self-Guided MAE (arXiv 2507.19773), whose masks come from the network in training.
    """
    gives = check_gives(find)

    def find_hints(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        return find(net, context.params, context)

    return stateless(gives, False, find_hints)
