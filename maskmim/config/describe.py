"""Descriptions of a brick: the hints it needs, and its name with its hyperparameters."""

from __future__ import annotations

from collections.abc import Callable

from maskmim.config.bricks import public_path
from maskmim.config.facts import bound_keywords, facts_of, function_of


def needs_of(brick: Callable) -> tuple[str, ...]:
    """Return the hints that a brick and the bricks among its hyperparameters need, each once."""
    hints = list(facts_of(brick).needs)
    for value in bound_keywords(brick).values():
        for inner in _inner_bricks(value):
            hints += [name for name in needs_of(inner) if name not in hints]
    return tuple(hints)


def _inner_bricks(value: object) -> list[Callable]:
    """Return the bricks in a hyperparameter: itself, or those of a dict or tuple."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        return [brick for item in value for brick in _inner_bricks(item)]
    return [value] if callable(value) else []


def title(brick: Callable) -> str:
    """Return a brick as short text: its path without the package, and its hyperparameters."""
    path = public_path(function_of(brick)).removeprefix("maskmim.")
    keywords = ", ".join(f"{name}={_value(value)}" for name, value in bound_keywords(brick).items())
    return f"{path}({keywords})" if keywords else path


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_value(item)}" for name, item in value.items()) + "}"
    return title(value) if callable(value) else str(value)
