"""Learned functions beside a network: projectors, prototypes, classifiers that objectives call."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import partial

import jax

from maskmim.config.returned import returned
from maskmim.models.layers.errors import ModelError
from maskmim.types import Array, LearnedFunction, Net, Tree


def with_calls(net: Net, calls: Mapping[str, Callable[[int], LearnedFunction]]) -> Net:
    """Return a network with further functions, whose parameters stand under their names.

    calls: bricks by name, width of the encoder -> LearnedFunction. `Net.calls[name]` then is
           (params of the network, ...) -> what the function returns.
    Parameters of the network itself start as without the functions; those of a function depend on
    its name, not on the others.
    Raises ModelError where the network has a function or parameters of that name already.
    """
    if not calls:
        return net
    functions = {
        name: returned(make(net.width), LearnedFunction, f"calls.{name}.brick", make)
        for name, make in calls.items()
    }
    if taken := sorted(set(functions) & set(net.calls)):
        raise ModelError(f"the model has a function {taken[0]!r} already: rename calls.{taken[0]}")

    def init(key: Array) -> Tree:
        params = dict(net.init(key))
        for name, function in functions.items():
            if name in params:
                raise ModelError(f"the model has parameters {name!r} already: rename calls.{name}")
            params[name] = function.init(jax.random.fold_in(key, zlib.crc32(name.encode())))
        return params

    def call(name: str, params: Tree, *arrays: Array, **options: object) -> Array:
        return functions[name].call(params[name], *arrays, **options)

    own = {name: partial(call, name) for name in functions}
    says = tuple((f"function {name}", made.says) for name, made in functions.items() if made.says)
    return net._replace(init=init, calls={**net.calls, **own}, says=(*net.says, *says))


def call_of(net: Net, name: str) -> Callable[..., Array]:
    """Return a function of a network; raise ModelError, naming those that there are, for none."""
    if name not in net.calls:
        raise ModelError(
            f"the network has no function {name!r}, but "
            f"{', '.join(sorted(net.calls)) or 'none at all'}: add a brick config.calls.{name}"
        )
    return net.calls[name]
