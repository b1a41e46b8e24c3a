"""FLOPs of the matrix products and convolutions of a traced function, loops counted in full."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from jax.extend import core


def matrix_flops(jaxpr: core.Jaxpr) -> float:
    """Count the multiplications and additions of all products, in a scan once per iteration.

    Rematerialised products are part of the jaxpr, so they count. Of a conditional the most
    expensive branch counts; the body of a while loop, whose iterations are unknown, counts once.
    """
    return sum(_equation_flops(equation) for equation in jaxpr.eqns)


def _equation_flops(equation: core.JaxprEqn) -> float:
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return 2.0 * equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval
        out_channels = kernel.shape[parameters["dimension_numbers"].rhs_spec[0]]
        groups = parameters["batch_group_count"]
        return 2.0 * equation.outvars[0].aval.size * kernel.size / out_channels / groups
    inner_flops = [matrix_flops(inner) for inner in _inner_jaxprs(parameters)]
    if name == "cond":
        return max(inner_flops)
    return sum(inner_flops) * (parameters["length"] if name == "scan" else 1)


def _inner_jaxprs(parameters: dict[str, Any]) -> Iterator[core.Jaxpr]:
    """Yield the jaxprs among an equation's parameters."""
    for parameter in parameters.values():
        for value in parameter if isinstance(parameter, tuple | list) else (parameter,):
            if isinstance(value, core.ClosedJaxpr):
                yield value.jaxpr
            elif isinstance(value, core.Jaxpr):
                yield value
