"""Teachers whose weights are a moving average (EMA) of the model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax

from maskmim.config.facts import facts_of, function_of
from maskmim.errors import UserError
from maskmim.training.averaged import mixed
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree


class AverageError(UserError, ValueError):
    """An average of parameters that do not exist, or a teacher that declares no hints."""


def average(
    *,
    find: Callable[[Net, Tree, Context], dict[str, Array]],
    momentum: Callable[[Array], Array],
    parts: tuple[str, ...] = (),
) -> Teacher:
    """Return a teacher with averaged weights that sees whole examples before the mask is drawn.

    find:     brick, (net, averaged params, context) -> {hint: array}, which declares the names of
              its hints by `@facts.finder(gives=...)`.
    momentum: brick, progress -> the share f32[] of the average that an update keeps, see
              `teachers.momentum`.
    parts:    top-level parts of the params to average, such as ('encoder',); () for all.

    The average starts as a copy of the params and is updated once after each optimiser step, with
    the params of that step: average = momentum * average + (1 - momentum) * params.
    Raises AverageError where find declares no hints or the params lack a part.
    Source: Mean Teacher (arXiv 1703.01780), ModelEma of timm.
    """

    def find_hints(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        return jax.lax.stop_gradient(find(net, extra, context))

    return _averaging(find, find_hints, momentum, parts, sees_mask=False)


def average_under_mask(
    *,
    find: Callable[[Net, Tree, Context, Mask], dict[str, Array]],
    momentum: Callable[[Array], Array],
    parts: tuple[str, ...] = (),
) -> Teacher:
    """Return a teacher with averaged weights that is asked after the mask is drawn.

    find: brick, (net, averaged params, context, mask) -> {hint: array}, as of `average`.
    Otherwise as `average`.
    """

    def find_hints(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask
    ) -> dict[str, Array]:
        return jax.lax.stop_gradient(find(net, extra, context, mask))

    return _averaging(find, find_hints, momentum, parts, sees_mask=True)


def _averaging(
    find: Callable,
    find_hints: Callable[..., dict[str, Array]],
    momentum: Callable[[Array], Array],
    parts: tuple[str, ...],
    *,
    sees_mask: bool,
) -> Teacher:
    """Return a teacher that keeps an average of some parts; raise where find declares no hints."""
    gives = check_gives(find)

    def init(key: Array, net: Net, params: Tree) -> Tree:
        return _select_parts(params, parts)

    def refresh(extra: Tree, params: Tree, carry: Tree, progress: Array) -> Tree:
        return mixed(extra, _select_parts(params, parts), momentum(progress))

    return Teacher(gives, sees_mask, init, find_hints, refresh)


def check_gives(find: Callable) -> tuple[str, ...]:
    """Return the hints that a teacher's function declares; raise AverageError where it has none."""
    gives = facts_of(find).gives
    if not gives:
        function = function_of(find)
        raise AverageError(
            f"{function.__module__}.{function.__qualname__} does not declare its hints: decorate "
            'it with @facts.finder(gives=("features",)), see maskmim.config.facts'
        )
    return gives


def _select_parts(params: Mapping[str, Tree], parts: tuple[str, ...]) -> Tree:
    missing = sorted(set(parts) - set(params))
    if missing:
        raise AverageError(
            f"no params {missing} to average: the model has {', '.join(sorted(params))}"
        )
    return {name: params[name] for name in parts or params}
