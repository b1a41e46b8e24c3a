"""A teacher whose weights are a moving average of the model's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax

from maskmim.errors import UserError
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree


class AverageError(UserError, ValueError):
    """An average of parameters that do not exist, or of which nothing is found."""


def average(
    *,
    find: Callable[[Net, Tree, Context], dict[str, Array]],
    momentum: Callable[[Array], Array],
    parts: tuple[str, ...] = (),
) -> Teacher:
    """Averaged weights that look at whole examples before the mask is drawn.

    find:     brick, (net, averaged params, context) -> {hint: array}; its attribute `gives` is the
              names of these hints. With it one teacher serves attention, features and losses.
    momentum: brick, progress -> the share f32[] of the average that an update keeps, see
              `teachers.momentum`.
    parts:    the top-level parts of the params that are averaged, such as ('encoder',); () for all.

    The average starts as a copy of the params and is updated once after each optimiser step, with
    the params of that step: average = momentum * average + (1 - momentum) * params.
    Raises AverageError for a find that declares no hints and for a part that the params lack.
    Source: Mean Teacher (arXiv 1703.01780), ModelEma of timm.
    """
    function = getattr(find, "func", find)
    gives = tuple(getattr(function, "gives", ()))
    if not gives:
        raise AverageError(
            f"{function.__module__}.{function.__qualname__} does not say what it finds: set its "
            "attribute `gives` to the names of its hints"
        )

    def init(key: Array, net: Net, params: Tree) -> Tree:
        return _chosen(params, parts)

    def ask(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        return jax.lax.stop_gradient(find(net, extra, context))

    def refresh(extra: Tree, params: Tree, carry: Tree, progress: Array) -> Tree:
        kept = momentum(progress)

        def mix(old: Array, new: Array) -> Array:
            return (kept * old + (1.0 - kept) * new).astype(old.dtype)

        return jax.tree.map(mix, extra, _chosen(params, parts))

    return Teacher(gives, False, init, ask, refresh)


def _chosen(params: Mapping[str, Tree], parts: tuple[str, ...]) -> Tree:
    missing = sorted(set(parts) - set(params))
    if missing:
        raise AverageError(
            f"no params {missing} to average: the model has {', '.join(sorted(params))}"
        )
    return {name: params[name] for name in parts or params}
