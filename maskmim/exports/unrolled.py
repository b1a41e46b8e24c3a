"""A traced function without loops: every step of a scan becomes operations of its own.

Runtimes of ONNX optimise a plain graph, and many do not know loops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

from maskmim.types import Array

# Primitives whose inner function is run in place, under this name of their parameter.
CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr"}


def unrolled(closed: ClosedJaxpr) -> Callable[..., list[Array]]:
    """Return a function that computes what a traced function does, without its scans."""
    return lambda *inputs: _run(closed, inputs)


def _run(closed: ClosedJaxpr, inputs: Sequence[Any]) -> list[Any]:
    jaxpr = closed.jaxpr
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*closed.consts, *inputs), strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else values[variable]

    for equation in jaxpr.eqns:
        given = [read(variable) for variable in equation.invars]
        values |= zip(equation.outvars, _compute(jaxpr, equation, given), strict=True)
    return [read(variable) for variable in jaxpr.outvars]


def _compute(jaxpr: Jaxpr, equation: Any, inputs: list[Any]) -> Sequence[Any]:
    """Return the results of one operation of a traced function."""
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        return _scan(params, inputs)
    if name in CALLS:
        return _run(params[CALLS[name]], inputs)
    pairs = zip(equation.invars, inputs, strict=True)
    given = {variable: value for variable, value in pairs if not isinstance(variable, Literal)}
    about = jaxpr.debug_info.with_unknown_names()
    parts = (), list(given), equation.outvars, [equation], equation.effects
    alone = Jaxpr(*parts, debug_info=about)
    return jaxpr_as_fun(ClosedJaxpr(alone, ()))(*given.values())


def _scan(params: dict[str, Any], inputs: list[Any]) -> list[Any]:
    fixed, end = params["num_consts"], params["num_consts"] + params["num_carry"]
    carry, stacked = inputs[fixed:end], inputs[end:]
    steps = range(params["length"])
    rows = []
    for step in reversed(steps) if params["reverse"] else steps:
        parts = [_row(array, step) for array in stacked]
        results = _run(params["jaxpr"], [*inputs[:fixed], *carry, *parts])
        carry = results[: params["num_carry"]]
        rows.append(results[params["num_carry"] :])
    rows = rows[::-1] if params["reverse"] else rows
    return [*carry, *(jnp.stack(column) for column in zip(*rows, strict=True))]


def _row(array: Any, step: int) -> Any:
    """Return a row of an array; of parameters as a constant, not as an operation."""
    return (
        array[step] if isinstance(array, jax.core.Tracer) else jnp.asarray(np.asarray(array)[step])
    )
