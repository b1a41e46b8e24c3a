"""Discovery of the samplers of `maskmim.masks` by their signatures; no list of them is kept.

A sampler is a public function `(randomness, context, *, ...)` that returns a `Mask`, or a tuple of
them, one per view. The decorator `config.facts.sampler` declares what the signature cannot say.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

import maskmim.masks
from maskmim.config.bricks import BrickError, resolve
from maskmim.config.describe import needs_of
from maskmim.config.facts import facts_of

SIGNATURE = ["randomness", "context"]


class Sampler(NamedTuple):
    """A sampler and its declarations.

    name:     its module in maskmim.masks and its name, such as 'colour.green'.
    function: the sampler.
    axes:     numbers of grid axes it serves.
    needs:    names of the hints it reads.
    views:    whether it returns a tuple of masks.
    takes:    names of keywords without a default: ('ratio',) for most, others for combinators.
    """

    name: str
    function: Callable
    axes: tuple[int, ...]
    needs: tuple[str, ...]
    views: bool
    takes: tuple[str, ...]

    @property
    def summary(self) -> str:
        """Return the first paragraph of the docstring, on one line."""
        return " ".join((inspect.getdoc(self.function) or "").split("\n\n")[0].split())


@functools.cache
def samplers() -> tuple[Sampler, ...]:
    """Return every sampler of the package, sorted by name."""
    described = []
    for entry in pkgutil.iter_modules(maskmim.masks.__path__):
        if entry.ispkg:
            continue
        module = importlib.import_module(f"maskmim.masks.{entry.name}")
        for name, value in vars(module).items():
            if _is_sampler(module.__name__, name, value):
                described.append(_describe(f"{entry.name}.{name}", value))
    return tuple(sorted(described))


def sampler_at(path: str) -> Sampler:
    """Return the sampler at a dotted path, of any package; its name is the path.

    Raises BrickError where nothing can be imported from the path, and for a function whose first
    two parameters are not `randomness` and `context`.
    """
    found = resolve(path)
    if not inspect.isfunction(found) or _first_two(found) != SIGNATURE:
        raise BrickError(
            f"{path} is no sampler: a sampler is a function whose first parameters are "
            "(randomness, context), see docs/masks.md"
        )
    return _describe(path, found)


def _first_two(function: Callable) -> list[str]:
    return list(inspect.signature(function).parameters)[:2]


def _is_sampler(module: str, name: str, value: object) -> bool:
    if not inspect.isfunction(value) or value.__module__ != module or name.startswith("_"):
        return False
    returned = str(inspect.signature(value).return_annotation)
    return _first_two(value) == SIGNATURE and (
        returned == "Mask" or returned.startswith("tuple[Mask")
    )


def _describe(name: str, function: Callable) -> Sampler:
    signature = inspect.signature(function)
    keywords = list(signature.parameters.values())[2:]
    return Sampler(
        name=name,
        function=function,
        axes=facts_of(function).axes,
        needs=needs_of(function),
        views=str(signature.return_annotation).startswith("tuple"),
        takes=tuple(k.name for k in keywords if k.default is inspect.Parameter.empty),
    )
