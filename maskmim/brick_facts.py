"""What a brick says of itself: the hints it needs and its name with its hyperparameters."""

from __future__ import annotations

import functools
from collections.abc import Callable


def needs_of(brick: Callable) -> tuple[str, ...]:
    """The hints that a brick needs: the attribute `needs` of its function, () without one."""
    function = brick.func if isinstance(brick, functools.partial) else brick
    return tuple(getattr(function, "needs", ()))


def title(brick: Callable) -> str:
    """A brick as short text: its dotted path without the package, and its hyperparameters."""
    if not isinstance(brick, functools.partial):
        return _path(brick)
    words = (f"{name}={_value(value)}" for name, value in brick.keywords.items())
    keywords = ", ".join(words)
    return f"{_path(brick.func)}({keywords})" if keywords else _path(brick.func)


def _path(function: Callable) -> str:
    return f"{function.__module__}.{function.__qualname__}".removeprefix("maskmim.")


def _value(value: object) -> str:
    return title(value) if callable(value) else str(value)
