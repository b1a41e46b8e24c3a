"""FLOPs of the matrix products and convolutions of a traced function, loops unrolled in thought."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from jax.extend import core


def matrix_flops(jaxpr: core.Jaxpr) -> float:
    """Multiplications and additions of all products; those of a scan as often as it runs.

    What a policy computes again is part of the jaxpr, so it counts. Of a conditional the dearest
    branch counts; the body of a while loop, whose iterations nobody knows, counts once.
    """
    return sum(_of(equation) for equation in jaxpr.eqns)


def _of(equation: core.JaxprEqn) -> float:
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return 2.0 * equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval
        makes = kernel.shape[parameters["dimension_numbers"].rhs_spec[0]]
        groups = parameters["batch_group_count"]
        return 2.0 * equation.outvars[0].aval.size * kernel.size / makes / groups
    inner = [matrix_flops(each) for each in _inside(parameters)]
    if name == "cond":
        return max(inner)
    return sum(inner) * (parameters["length"] if name == "scan" else 1)


def _inside(parameters: dict[str, Any]) -> Iterator[core.Jaxpr]:
    """The jaxprs among an equation's parameters."""
    for value in parameters.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if isinstance(each, core.ClosedJaxpr):
                yield each.jaxpr
            elif isinstance(each, core.Jaxpr):
                yield each
