"""Pixels of no class in maps of classes: which index stands for them, and how a batch has them.

The keyword `void` of a stream's decoder names the index, whatever it is in the files. In a batch it
is the largest number of the stream's dtype, which is beyond its classes: 255 of uint8. Networks,
objectives and pictures take every index beyond the classes for no class.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from maskmim.config.facts import bound_keywords, function_of
from maskmim.data.decode_each import decoders_of
from maskmim.data.records import DataError
from maskmim.types import Spec


class UnknownClass(DataError):
    """An index of a map that is neither a class nor void; see `advice` for what people are told."""

    def __init__(self, index: int, classes: int):
        super().__init__(f"a map has the index {index}, but its classes are 0 ... {classes - 1}")
        self.index, self.classes = index, classes


def voids_of(decode: Callable[..., Any], spec: Spec, key: str = "data.decode") -> dict[str, int]:
    """Return the index of no class of each stream of classes whose decoder names one.

    key: of the decoder in the config.
    Raises DataError for a stream of 256 classes of uint8, which has no number left.
    """
    voids = {}
    for part, inner in decoders_of(decode).items():
        name, void = part or spec.stream, bound_keywords(inner).get("void")
        classes = spec.arrays[name].classes if name in spec.arrays else 0
        if void is None or not classes:
            continue
        if classes > np.iinfo(spec.arrays[name].dtype).max:
            section = _section(name, spec)
            raise DataError(
                f"{_decoder(name, decode, key)}.void is {void}, but the {classes} classes of "
                f"{section}.classes are all numbers of uint8: set {section}.dtype=int32"
            )
        voids[name] = int(void)
    return voids


def settled(array: np.ndarray, void: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return indices as a batch has them, with the dtype's largest number where void is True."""
    return np.where(void, np.array(np.iinfo(dtype).max, dtype), array.astype(dtype))


def advice(
    error: UnknownClass, spec: Spec, decode: Callable[..., Any], key: str = "data.decode"
) -> str:
    """Return the message of an index that is no class, with the keys of the config that cure it.

    key: of the decoder in the config.
    """
    name, needed = error.stream or spec.stream, error.index + 1
    decoder, inner = _decoder(name, decode, key), _decoders(decode, spec).get(name)
    keys = []
    if name in spec.arrays and spec.arrays[name].classes < needed:
        keys.append(f"{_section(name, spec)}.classes={needed}")
    if inner is not None and 0 < bound_keywords(inner).get("classes", 0) < needed:
        keys.append(f"{decoder}.classes={needed}")
    cures = [f"set {' and '.join(keys)}"] if keys else []
    if inner is not None and "void" in inspect.signature(function_of(inner)).parameters:
        cures = [f"set {decoder}.void={error.index} if it stands for no class", *cures]
    other = "evals.decode" if key == "data.decode" else "data.decode"
    return (
        f"{name!r} has the index {error.index}, but its classes are 0 ... {error.classes - 1}: "
        f"{', or '.join([*cures, 'change what decodes it'])} ({other} likewise)"
    )


def _decoders(decode: Callable[..., Any], spec: Spec) -> Mapping[str, Callable[..., Any]]:
    return {name or spec.stream: inner for name, inner in decoders_of(decode).items()}


def _decoder(name: str, decode: Callable[..., Any], key: str) -> str:
    """Return the key of the section of a stream's decoder."""
    return f"{key}.streams.{name}" if name in decoders_of(decode) else key


def _section(name: str, spec: Spec) -> str:
    """Return the key of the section of a stream."""
    return f"input.streams.{name}" if name in spec.streams else "input"
