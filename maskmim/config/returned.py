"""Whether a brick returned what its kind returns; signatures that leave it open cannot say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from maskmim.config.bricks import BrickError
from maskmim.config.facts import function_of

Made = TypeVar("Made")


def returned(value: Any, kind: type[Made] | tuple[type, ...], key: str, brick: Callable) -> Made:
    """Return what a brick returned; raise BrickError naming it unless that is of a kind.

    kind: the type, or several of which the first is named. key: of the brick, 'mask.brick'.
    """
    if isinstance(value, kind):
        return value
    function = function_of(brick)
    path = f"{function.__module__}.{getattr(function, '__qualname__', repr(function))}"
    expected = _noun(kind[0] if isinstance(kind, tuple) else kind)
    raise BrickError(f"{key} ({path}) returned {_said(value)}, not {expected}")


def _said(value: Any) -> str:
    if value is None:
        return "None"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of {value.dtype} of shape {tuple(value.shape)}"
    return _noun(type(value))


def _noun(kind: type) -> str:
    name = kind.__name__.rpartition(".")[2]  # a C type has its module in its name
    return f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"
