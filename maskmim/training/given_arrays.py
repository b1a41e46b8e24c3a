"""The initial state of a training with some parameters given instead of drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import optax
from jax.extend.core import ClosedJaxpr, Literal, Var, jaxpr_as_fun

from maskmim.training.train_step import initial_state
from maskmim.tree_paths import named_leaves
from maskmim.types import Array, Method, State


def state_with(
    method: Method,
    optimiser: optax.GradientTransformation,
    key: Array,
    given: Mapping[str, Array],
) -> State:
    """Return the state before the first step, with given arrays in place of those drawn.

    given: arrays by path, 'params/encoder/class_token' or 'extra/codebook/codes', of the shapes and
           types that the method has there.

    Whatever `Method.init` and the optimiser compute from a parameter, they compute from the given
    one: a teacher that starts as a copy of the parameters is a copy of these. So `init` is traced,
    and its program gets these parameters as inputs; a method needs to do nothing for it, but must
    not jit its own init. A given array of extra replaces that array alone.
    """
    closed, shapes = jax.make_jaxpr(
        lambda key: initial_state(method, optimiser, key), return_shape=True
    )(key)
    names = [name for name, _ in named_leaves(shapes)]
    inputs: dict[Var, Array] = {}
    for name, variable in zip(names, closed.jaxpr.outvars, strict=True):
        if name in given and name.startswith("params/") and not isinstance(variable, Literal):
            inputs.setdefault(variable, given[name])
    results = _with_inputs(closed, list(inputs))(*jax.tree.leaves(key), *inputs.values())
    leaves = [given.get(name, result) for name, result in zip(names, results, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def _with_inputs(closed: ClosedJaxpr, variables: list[Var]) -> Callable[..., list[Array]]:
    """Return the function of a traced program in which some variables are further inputs."""
    program, chosen = closed.jaxpr, set(variables)
    equations = [
        equation.replace(
            outvars=[Var(each.aval) if each in chosen else each for each in equation.outvars]
        )
        for equation in program.eqns
    ]
    constants = [
        (Var(each.aval) if each in chosen else each, value)
        for each, value in zip(program.constvars, closed.consts, strict=True)
    ]
    changed = program.replace(
        constvars=[each for each, _ in constants],
        invars=[*program.invars, *variables],
        eqns=equations,
        debug_info=program.debug_info.with_unknown_names(),
    )
    return jaxpr_as_fun(ClosedJaxpr(changed, [value for _, value in constants]))
