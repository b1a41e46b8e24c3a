"""Whether a value is what an annotation allows, and what to say where it is not."""

from __future__ import annotations

import collections.abc
import difflib
import numbers
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

from ml_collections import ConfigDict

from maskmim.config.kinds import Kind, is_callable_annotation, kind_of, misfit, suggestion
from maskmim.config.ranges import MOST_INT, Hints

# Names of types: one value, several values.
_NOUNS = {
    bool: ("True or False", "values True or False"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    tuple: ("a tuple such as (1, 2)", "tuples"),
    types.NoneType: ("None", "None"),
}
_COUNTS = {2: "two", 3: "three", 4: "four"}
_SEQUENCES = (tuple, list, collections.abc.Sequence)
_MAPPINGS = (dict, collections.abc.Mapping)
Find = Callable[[Any], Callable | None]


def faults(value: Any, annotation: Any, path: str, find: Find) -> Iterator[str]:
    """Yield a sentence 'PATH: expected ..., got ...' for each value that is not allowed.

    annotation: of a hyperparameter, evaluated. Types that are not known here allow anything.
    path:       of the value, 'mask.ratio'; values of a mapping are named below it.
    find:       value -> the function that it stands for, None for other values.
    """
    inner = values_of_mapping(annotation)
    if inner is not None and _is_section(value, find):
        for name, each in value.items():
            yield from faults(each, inner, f"{path}.{name}", find)
    elif not allows(annotation, value, find):
        yield f"{path}: {_complaint(value, annotation, find)}"


def allows(annotation: Any, value: Any, find: Find) -> bool:
    """Return whether a value is of an annotated type and in its range."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(allows(part, value, find) for part in arguments)
    if kind := kind_at(annotation):
        function = find(value)
        return function is not None and not misfit(function, kind)
    if origin is Annotated:
        plain, *marks = arguments
        return allows(plain, value, find) and all(mark.allows(value) for mark in _ranges(marks))
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in arguments)
    if annotation in _SEQUENCES or origin in _SEQUENCES:
        return _allows_sequence(arguments, value, find)
    if annotation in _MAPPINGS or origin in _MAPPINGS:
        inner = arguments[1] if len(arguments) == 2 else Any
        section = _is_section(value, find)
        return section and all(allows(inner, each, find) for each in value.values())
    return _allows_plain(annotation, value)


def _is_section(value: Any, find: Find) -> bool:
    """Return whether a value has keys and is no brick."""
    return isinstance(value, collections.abc.Mapping | ConfigDict) and find(value) is None


def _allows_plain(annotation: Any, value: Any) -> bool:
    if annotation is None or annotation is types.NoneType:
        return value is None
    if annotation in (int, float):
        number = numbers.Integral if annotation is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, bool)
    if annotation in (bool, str):
        return isinstance(value, annotation)
    return True


def _allows_sequence(arguments: tuple, value: Any, find: Find) -> bool:
    if not isinstance(value, tuple | list):
        return False
    if not arguments or arguments == ((),):
        return True
    if len(arguments) == 1 or arguments[-1] is ...:
        return all(allows(arguments[0], each, find) for each in value)
    if len(value) != len(arguments):
        return False
    return all(allows(part, each, find) for part, each in zip(arguments, value, strict=True))


def describe(annotation: Any, many: bool = False) -> str:
    """Return what an annotation allows in words, '' for anything: 'a number above 0 or None'."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        parts = [describe(part, many) for part in arguments]
        return " or ".join(parts) if all(parts) else ""
    if kind := kind_at(annotation):
        return f"brick(...) of {kind.describe()}"
    if origin is Annotated:
        plain, *marks = arguments
        words = describe(plain, many)
        for mark in _ranges(marks):
            words = mark.describe(words)
        return words
    if origin is Literal:
        *others, last = map(repr, arguments)
        return f"{', '.join(others)} or {last}" if others else last
    if annotation is None:
        return "None"
    if annotation in _SEQUENCES or origin in _SEQUENCES:
        return _describe_sequence(arguments, many)
    if annotation in _MAPPINGS or origin in _MAPPINGS:
        return "a section of keys"
    if not isinstance(annotation, type) or annotation not in _NOUNS:
        return ""
    return _NOUNS[annotation][many]


def _describe_sequence(arguments: tuple, many: bool) -> str:
    plain = _NOUNS[tuple][many]
    if not arguments:
        return plain
    if len(arguments) == 1 or arguments[-1] is ...:
        inner = describe(arguments[0], True)
        return f"a tuple of {inner}" if inner else plain
    if len(set(map(repr, arguments))) > 1:
        return f"({', '.join(describe(each) or '...' for each in arguments)})"
    count = len(arguments)
    inner = describe(arguments[0], True)
    return f"{_COUNTS.get(count, count)} {inner or 'values'}"


def _complaint(value: Any, annotation: Any, find: Find) -> str:
    """Return what was expected, what was given, and the nearest choice."""
    for hints in _hints(annotation):
        if isinstance(value, str) and value.lower() in hints:
            return f"expected {describe(annotation)}, got {value!r}; {hints[value.lower()]}"
    function = find(value)
    if function is not None:
        name = path_of(value, function)
        kind = kind_at(annotation)
        if kind is None:
            return f"expected {describe(annotation)}, got the brick {name}"
        return of_another_kind(name, function, kind)
    said = f"expected {describe(annotation)}, got {value!r}"
    numbers_given = value if isinstance(value, tuple | list) else (value,)
    if any(type(each) is int and each > MOST_INT for each in numbers_given):
        said += ", which is too large"
    choices = [each for each in _choices(annotation) if isinstance(each, str) and each]
    near = difflib.get_close_matches(value, choices, 1, 0.5) if isinstance(value, str) else []
    return said + (f"; did you mean {near[0]!r}?" if near and len(choices) > 2 else "")


def of_another_kind(path: str, function: Callable, kind: Kind) -> str:
    """Return a sentence on a function that is not of a kind, '' where it is; path: how it is named.

    It offers the functions that are of the kind, or the nearest.
    """
    reason = misfit(function, kind)
    hint = suggestion(kind, function.__name__) if reason else ""
    return f"{path} does not fit: {reason}; expected {kind.describe()}{hint}" if reason else ""


def kind_at(annotation: Any) -> Kind | None:
    """Return the kind of the bricks that an annotation allows, None where it allows none.

    Either a Callable, or Annotated[Callable, Kind(...)]; alone or as an alternative.
    """
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = (kind_at(part) for part in typing.get_args(annotation))
        return next((kind for kind in kinds if kind), None)
    if typing.get_origin(annotation) is Annotated:
        return next((m for m in typing.get_args(annotation)[1:] if isinstance(m, Kind)), None)
    return kind_of(annotation) if is_callable_annotation(annotation) else None


def path_of(value: Any, function: Callable) -> str:
    """Return the path of a brick: that of its section, or that of its function."""
    if isinstance(value, collections.abc.Mapping | ConfigDict):
        return value["brick"]
    return f"{function.__module__}.{function.__qualname__}"


def _parts(annotation: Any) -> tuple[Any, ...]:
    """Return the alternatives of an annotation, without their ranges."""
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(p for part in typing.get_args(annotation) for p in _parts(part))
    return (annotation,)


def _ranges(marks: list) -> list:
    """Return those of the marks of an Annotated that are ranges; other libraries have their own."""
    return [mark for mark in marks if hasattr(mark, "allows") and hasattr(mark, "describe")]


def _choices(annotation: Any) -> list:
    parts = [part for part in _parts(annotation) if typing.get_origin(part) is Literal]
    return [each for part in parts for each in typing.get_args(part)]


def _hints(annotation: Any) -> Iterator[Mapping[str, str]]:
    if typing.get_origin(annotation) is Annotated:
        yield from (m.sentences for m in typing.get_args(annotation)[1:] if isinstance(m, Hints))
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for part in typing.get_args(annotation):
            yield from _hints(part)


def values_of_mapping(annotation: Any) -> Any:
    """Return the annotation of the values of a mapping; None where no mapping is allowed."""
    for part in _parts(annotation):
        if typing.get_origin(part) in _MAPPINGS and len(typing.get_args(part)) == 2:
            return typing.get_args(part)[1]
    return None
