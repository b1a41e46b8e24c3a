"""What a brick says of itself: the hints it needs and its name with its hyperparameters."""

from __future__ import annotations

import functools
from collections.abc import Callable

from maskmim.config.bricks import public_path


def needs_of(brick: Callable) -> tuple[str, ...]:
    """The hints that a brick needs: its function's attribute `needs`, and its inner bricks' own."""
    if not isinstance(brick, functools.partial):
        return tuple(getattr(brick, "needs", ()))
    found = list(needs_of(brick.func))
    for value in brick.keywords.values():
        for inner in _inner(value):
            found += [name for name in needs_of(inner) if name not in found]
    return tuple(found)


def _inner(value: object) -> list[Callable]:
    """The bricks in a hyperparameter: itself, or those of a dict or tuple."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        return [brick for each in value for brick in _inner(each)]
    return [value] if callable(value) else []


def title(brick: Callable) -> str:
    """A brick as short text: its dotted path without the package, and its hyperparameters."""
    if not isinstance(brick, functools.partial):
        return _path(brick)
    words = (f"{name}={_value(value)}" for name, value in brick.keywords.items())
    keywords = ", ".join(words)
    return f"{_path(brick.func)}({keywords})" if keywords else _path(brick.func)


def _path(function: Callable) -> str:
    return public_path(function).removeprefix("maskmim.")


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_value(each)}" for name, each in value.items()) + "}"
    return title(value) if callable(value) else str(value)
