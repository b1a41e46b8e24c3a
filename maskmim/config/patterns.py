"""Patterns of a config that should match something: which, and which of them match nothing."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from ml_collections import ConfigDict

from maskmim.config.bricks import hyperparameters, resolve
from maskmim.config.ranges import RegularExpression

# Names that a sentence shows.
FEW = 3


def without_match(section: ConfigDict, key: str, names: Sequence[str]) -> list[str]:
    """Return a sentence for each pattern of a brick, and of those inside, that matches no name.

    key: of the section, 'optim'. names: what the patterns are searched for in, paths of parameters.
    The defaults of a brick are for many networks, so that they need not match in each.
    """
    few = ", ".join(names[:: max(1, len(names) // FEW)][:FEW])
    return [
        f"{path}: the pattern {pattern!r} matches none of the {len(names)} parameters and so does "
        f"nothing; some of their names are {few}"
        for path, pattern in chosen_patterns(section, key)
        if not any(re.search(pattern, name) for name in names)
    ]


def chosen_patterns(section: ConfigDict, key: str) -> Iterator[tuple[str, str]]:
    """Yield (path, pattern) for the patterns of a brick, and of those inside, but defaults."""
    for name, parameter in hyperparameters(resolve(section.brick)).items():
        if name not in section:  # a stored config from before the keyword was there
            continue
        value = section[name]
        if isinstance(value, ConfigDict) and "brick" in value:
            yield from chosen_patterns(value, f"{key}.{name}")
        elif value != parameter.default:
            usual = set(_patterns(parameter.default, parameter.annotation))
            chosen = _patterns(value, parameter.annotation)
            yield from ((f"{key}.{name}", each) for each in chosen if each not in usual)


def _patterns(value: Any, annotation: Any) -> Iterator[str]:
    """Yield the regular expressions in a value, as its annotation says which texts are some."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is Annotated:
        if isinstance(value, str) and any(isinstance(a, RegularExpression) for a in arguments):
            yield value
        elif not isinstance(value, str):
            yield from _patterns(value, arguments[0])
    elif typing.get_origin(annotation) is tuple and isinstance(value, tuple | list):
        inner = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        for each, part in zip(value, inner, strict=False):
            yield from _patterns(each, part)
