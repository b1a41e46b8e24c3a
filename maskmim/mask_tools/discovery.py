"""Finds every sampler of `maskmim.masks` by its signature, so that no list of them is kept.

A sampler is a public function `(randomness, context, *, ...)` that returns a `Mask`, or a tuple of
them, one for each view. What it says of itself beyond its docstring are attributes:

axes:   numbers of grid axes it serves, `tube.axes = (3,)`; any where there is none.
needs:  names of the hints that it reads.
counts: `(grid, *, ratio, ...) -> (visible, predicted)`, where that is not `split_counts`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

import maskmim.masks
from maskmim.config.describe import needs_of

ANY_AXES = (1, 2, 3)


class Sampler(NamedTuple):
    """A sampler and what it says of itself.

    name:     its module in maskmim.masks and its name, such as 'colour.green'.
    function: the sampler.
    axes:     numbers of grid axes it serves.
    needs:    names of the hints it reads.
    views:    whether it returns a tuple of masks.
    takes:    names of keywords without a default: ('ratio',) for most; combinators have others.
    """

    name: str
    function: Callable
    axes: tuple[int, ...]
    needs: tuple[str, ...]
    views: bool
    takes: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The first sentence of its docstring, on one line."""
        text = " ".join((inspect.getdoc(self.function) or "").split("\n\n")[0].split())
        return text


@functools.cache
def samplers() -> tuple[Sampler, ...]:
    """Every sampler of the package, by name."""
    found = []
    for entry in pkgutil.iter_modules(maskmim.masks.__path__):
        if entry.ispkg:
            continue
        module = importlib.import_module(f"maskmim.masks.{entry.name}")
        for name, value in vars(module).items():
            if _is_sampler(module.__name__, name, value):
                found.append(_described(f"{entry.name}.{name}", value))
    return tuple(sorted(found))


def _is_sampler(module: str, name: str, value: object) -> bool:
    if not inspect.isfunction(value) or value.__module__ != module or name.startswith("_"):
        return False
    signature = inspect.signature(value)
    returned = str(signature.return_annotation)
    return list(signature.parameters)[:2] == ["randomness", "context"] and (
        returned == "Mask" or returned.startswith("tuple[Mask")
    )


def _described(name: str, function: Callable) -> Sampler:
    signature = inspect.signature(function)
    rest = list(signature.parameters.values())[2:]
    return Sampler(
        name=name,
        function=function,
        axes=tuple(getattr(function, "axes", ANY_AXES)),
        needs=needs_of(function),
        views=str(signature.return_annotation).startswith("tuple"),
        takes=tuple(each.name for each in rest if each.default is inspect.Parameter.empty),
    )
