"""From text on the command line to the typed value of a config key."""

from __future__ import annotations

import ast
import inspect
import os
import types
import typing
from collections.abc import Sequence, Set
from typing import Any

from ml_collections import ConfigDict

from maskmim.config.tuple_text import elements_of
from maskmim.errors import UserError

Kinds = frozenset[type] | None  # None: anything

_NAMES = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a tuple such as (1, 2)",
    types.NoneType: "None",
    ConfigDict: "a section such as brick(...)",
}


class ConfigError(UserError, ValueError):
    """A mistake in a config file or in the flags that change it."""


def kinds_of(now: Any, annotation: Any = Any) -> Kinds:
    """Return the types that a key takes that has the value `now`.

    The annotation decides where it can, so that a default of None or 1 does not freeze the type;
    otherwise the present value decides, and None takes anything.
    """
    declared = _annotated(annotation)
    if declared is None:
        return None if now is None else frozenset({_kind(type(now))})
    return declared if now is None else declared | {_kind(type(now))}


def _kind(kind: type) -> type:
    return tuple if kind is list else kind


def _annotated(annotation: Any) -> Kinds:
    """Return the types that an annotation allows; None where it allows, or may allow, others."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _annotated(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        parts = [_annotated(part) for part in typing.get_args(annotation)]
        return None if None in parts else frozenset().union(*parts)
    if origin is typing.Literal:
        return frozenset(type(value) for value in typing.get_args(annotation))
    if annotation is None:
        return frozenset({types.NoneType})
    plain = origin or annotation
    if plain in (list, Sequence):
        plain = tuple
    known = inspect.isclass(plain) and plain in _NAMES
    return frozenset({plain}) if known else None


def parse(text: str, kinds: Kinds, now: Any = None) -> Any:
    """Return the value that a text stands for, as one of the allowed types.

    True, False, None, 3, 1e-3, inf, (96, 96) and 96,96 are read as in Python; whole numbers are
    fine for floats, and 1e3 for whole numbers. Text needs no quotes; '~' at its start is the home
    folder.
    now: the value that is replaced; new elements of a tuple must be of the types of its elements.
    Raises ValueError saying what was expected and what was given.
    """
    text = os.path.expanduser(text)
    value = _literal(text)
    if kinds is None:
        return _tuples(value)
    for convert in (_none, _bool, _number, _tuple, _text):
        try:
            return convert(text, value, kinds, now)
        except _OtherKind:
            continue
    raise ValueError(f'expected {describe(kinds)}, got "{text}"')


def describe(kinds: Set[type]) -> str:
    """Return the types in words: 'a number or None'."""
    names = [name for kind, name in _NAMES.items() if kind in kinds]
    return " or ".join(names) or " or ".join(sorted(kind.__name__ for kind in kinds))


class _OtherKind(Exception):
    """The text is no value of the kind that is being tried."""


def _literal(text: str) -> Any:
    word = text.strip()
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    if word.lower() in ("inf", "-inf", "nan"):
        return float(word)
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _none(text: str, value: Any, kinds: frozenset[type], now: Any) -> None:
    if value is None and types.NoneType in kinds:
        return None
    raise _OtherKind


def _bool(text: str, value: Any, kinds: frozenset[type], now: Any) -> bool:
    if isinstance(value, bool) and bool in kinds:
        return value
    raise _OtherKind


def _number(text: str, value: Any, kinds: frozenset[type], now: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _OtherKind
    if int in kinds and isinstance(value, int):
        return value
    if float in kinds:
        return float(value)
    if int in kinds and value.is_integer():
        return int(value)
    raise _OtherKind


def _tuple(text: str, value: Any, kinds: frozenset[type], now: Any) -> tuple:
    if tuple not in kinds:
        raise _OtherKind
    inner = frozenset(type(element) for element in now) if isinstance(now, tuple) else frozenset()
    if not isinstance(value, tuple | list):
        words = elements_of(text)
        # Texts stay as they are written: 1e5 is no number.
        value = tuple(parse(word, inner) if inner == {str} else _literal(word) for word in words)
    value = _tuples(value)
    if not inner:
        return value
    try:
        return tuple(_element(element, inner) for element in value)
    except ValueError as error:
        raise ValueError(f'{error} in "{text}"') from None


def _element(value: Any, kinds: frozenset[type]) -> Any:
    if type(value) in kinds:
        return value
    return parse(str(value), kinds)


def _text(text: str, value: Any, kinds: frozenset[type], now: Any) -> str:
    if str not in kinds:
        raise _OtherKind
    if value is None:
        raise ValueError(
            "expected text, got None; for no text write nothing after =, for the word itself put "
            "it in quotes"
        )
    return value if isinstance(value, str) else text


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list | tuple) else value
