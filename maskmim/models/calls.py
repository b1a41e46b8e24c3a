"""Learned functions beside a network: projectors, prototypes, classifiers that objectives call."""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import jax

from maskmim.config.keys import did_you_mean
from maskmim.config.returned import returned
from maskmim.models.layers.batch_norm import NORMS
from maskmim.models.layers.errors import ModelError
from maskmim.types import Array, LearnedFunction, Net, Tree


class Calls(dict[str, Callable[..., Any]]):
    """The functions of a network by name, as `Net.calls`; another name is a ModelError.

    used: the names that were looked up.
    """

    def __init__(self, functions: Mapping[str, Callable[..., Any]]):
        super().__init__(functions)
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> Callable[..., Any]:
        self.used.add(name)
        return super().__getitem__(name)

    def __missing__(self, name: str) -> Callable[..., Any]:
        raise ModelError(lacking_call(name, self))


def lacking_call(name: str, there: Iterable[str]) -> str:
    """Return what is wrong where a network lacks a function: the nearest, and those it has."""
    there = sorted(there)
    hint = did_you_mean(difflib.get_close_matches(name, there, 1, 0.6))
    way = f"{hint} Otherwise add" if hint else ": add"
    known = ", ".join(there) or "none at all"
    return f"the network has no function {name!r}, but {known}{way} a brick config.calls.{name}"


def with_calls(net: Net, calls: Mapping[str, Callable[[int], LearnedFunction]]) -> Net:
    """Return a network with further functions, whose parameters stand under their names.

    calls: bricks by name, width of the encoder -> LearnedFunction. `Net.calls[name]` then is
           (params of the network, ...) -> what the function returns.
    Parameters of the network itself start as without the functions; those of a function depend on
    its name, not on the others.
    A function that the network lacks is a ModelError that names those that there are.
    Raises ModelError where the network has a function or parameters of that name already.
    """
    if not calls:
        return net._replace(calls=Calls(net.calls))
    if NORMS in calls:
        raise ModelError(
            f"calls.{NORMS} has the name of the running averages of batch norms: rename it"
        )
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
    return net._replace(init=init, calls=Calls({**net.calls, **own}), says=(*net.says, *says))


def call_of(net: Net, name: str) -> Callable[..., Array]:
    """Return a function of a network; raise ModelError, naming those that there are, for none."""
    if name not in net.calls:
        raise ModelError(lacking_call(name, net.calls))
    return net.calls[name]


def watched(net: Net) -> tuple[Net, set[str]]:
    """Return the network and the names of functions that are looked up in it, as it goes on."""
    calls = Calls(net.calls)
    return net._replace(calls=calls), calls.used


def refuse_unused(names: Iterable[str], used: set[str]) -> None:
    """Raise ModelError where one of some functions of `config.calls` is not among those used."""
    if unused := sorted(set(names) - used):
        raise ModelError(
            f"calls.{unused[0]} is called by no objective and no teacher, so that it learns "
            "nothing: remove it, or name it where it is to be called, as in "
            f"objectives.NAME.call={unused[0]!r} or pairs.NAME.project={unused[0]!r}"
        )
