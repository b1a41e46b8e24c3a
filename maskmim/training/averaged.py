"""Any method with an average (EMA) of its weights beside the trained ones; evaluation reads it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from maskmim.config.describe import title
from maskmim.config.returned import returned
from maskmim.errors import UserError
from maskmim.types import Array, Batch, Encoded, Losses, Method, Randomness, Tree, Variables


class AveragedError(UserError, ValueError):
    """An average of weights that evaluation would not read."""


def averaged(method: Method, momentum: Callable[[Array], Array]) -> Method:
    """Return a method that trains as another and is evaluated with an average of its weights.

    momentum: brick, progress -> the share f32[] of the average that an update keeps, see
              `teachers.momentum`; `config.ema`.

    The average starts as a copy of the params and is updated once after each optimiser step, with
    the params of that step: average = momentum * average + (1 - momentum) * params. A step that
    changes no params, as it was not finite, leaves it.
    `extra` is {'average': params, 'method': extra of the other method}. Every function of `apply`
    and every sheet reads the average, but apply['encode_student'], which encodes with the trained
    params. Running averages of batch norms stay those of the
    trained params, while timm's ModelEma averages them too.
    Raises AveragedError for a method that is evaluated with averaged weights already.
    Source: Polyak averaging; ModelEma of timm.
    """
    if "encode_student" in method.apply:
        raise AveragedError(
            "ema: this method is evaluated with its own teacher's averaged weights, which another "
            "average would not change: leave config.ema at None"
        )
    apply: Any = {name: _with_average(function) for name, function in method.apply.items()}
    apply["evaluated"] = partial(_evaluated, method)
    if "encode" in method.apply:
        apply["encode_student"] = _with_params(method.apply["encode"])
    return method._replace(
        init=partial(_init, method),
        loss=partial(_loss, method),
        refresh=partial(_refresh, method, momentum),
        apply=apply,
        chain=(*method.chain, ("evaluated with", f"averaged weights, momentum {title(momentum)}")),
        sheets={name: _with_average(draw) for name, draw in method.sheets.items()},
    )


def mixed(average: Tree, params: Tree, share: Array) -> Tree:
    """Return share * average + (1 - share) * params, in the dtypes of the average."""

    def mix(old: Array, new: Array) -> Array:
        return (share * old + (1.0 - share) * new).astype(old.dtype)

    return jax.tree.map(mix, average, params)


def inner_variables(variables: Variables) -> Variables:
    """Return the variables of the method that is averaged, with the trained params."""
    return variables._replace(extra=variables.extra["method"])


def average_of(variables: Variables) -> Variables:
    """Return the variables of the method that is averaged, with the average as params."""
    return Variables(variables.extra["average"], variables.extra["method"], variables.frozen)


def _init(method: Method, key: Array) -> tuple[Tree, Tree]:
    params, extra = method.init(key)
    return params, {"average": params, "method": extra}


def _loss(
    method: Method, variables: Variables, batch: Batch, randomness: Randomness, progress: Array
) -> Losses:
    return method.loss(inner_variables(variables), batch, randomness, progress)


def _refresh(
    method: Method,
    momentum: Callable[[Array], Array],
    variables: Variables,
    carry: Tree,
    progress: Array,
) -> Tree:
    share = returned(momentum(progress), (Array, float), "ema.brick", momentum)
    return {
        "average": mixed(variables.extra["average"], variables.params, share),
        "method": method.refresh(inner_variables(variables), carry, progress),
    }


def _with_average(function: Callable) -> Callable:
    """Return a function of `apply` that reads the average."""

    def applied(variables: Variables, *arguments: Any, **options: Any) -> Any:
        return function(average_of(variables), *arguments, **options)

    return applied


def _with_params(encode: Callable[..., Encoded]) -> Callable[..., Encoded]:
    """Return an `encode` that reads the trained params."""

    def applied(variables: Variables, *arguments: Any, **options: Any) -> Encoded:
        return encode(inner_variables(variables), *arguments, **options)

    return applied


def _evaluated(method: Method, variables: Variables) -> Variables:
    """Return the variables whose params are the average, as `Method.loss` takes them."""
    return variables._replace(params=method.evaluated(average_of(variables)).params)
