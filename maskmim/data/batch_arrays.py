"""The arrays of an example on their way into a batch: which there are, and whether one fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from maskmim.config.facts import bound_keywords, facts_of
from maskmim.data.no_class import UnknownClass, settled
from maskmim.data.records import DataError, Example
from maskmim.types import Field, Spec

Arrays = dict[str, np.ndarray]


def output_shapes(augment: Callable[..., Any], spec: Spec) -> dict[str, Field]:
    """Return shape and dtype of the arrays that a batch has of one example, by name.

    Those of spec.arrays (streams) and spec.fields; or those that `Facts.makes` of the augmentation
    names, with the dtype of the main stream where it says none.
    """
    shapes = facts_of(augment).makes
    if shapes is None:
        streams = {name: Field(one.shape, one.dtype) for name, one in spec.arrays.items()}
        return streams | dict(spec.fields)
    channels = _each_channels(spec) if spec.streams else spec.channels
    made = shapes(size_of(spec), channels, **bound_keywords(augment))
    return {name: _field(shape, spec.dtype) for name, shape in made.items()}


def _field(shape: tuple, dtype: str) -> Field:
    """Return a field of what `Facts.makes` says of an array: its shape, or (shape, dtype)."""
    said = len(shape) == 2 and isinstance(shape[1], str)
    return Field(tuple(shape[0]), shape[1]) if said else Field(tuple(shape), dtype)


def channels_of(spec: Spec, encoded: Any) -> int | dict[str, int]:
    """Return what a decoder gets as `channels` with what is stored of an example.

    {stream: channels} where that is a mapping; else the number of the main stream, of which an
    augmentation may make the others.
    """
    return _each_channels(spec) if isinstance(encoded, Mapping) else spec.channels


def _each_channels(spec: Spec) -> dict[str, int]:
    return {name: one.channels for name, one in spec.arrays.items()}


def size_of(spec: Spec) -> tuple[int, ...] | dict[str, tuple[int, ...]]:
    """Return what an augmentation gets as `size`: that of the only array, or one for each array.

    The size of a field is its shape.
    """
    if not _has_several(spec):
        return spec.size
    sizes = {name: one.size for name, one in spec.arrays.items()}
    return sizes | {name: field.shape for name, field in spec.fields.items()}


def _has_several(spec: Spec) -> bool:
    return bool(spec.streams or spec.fields)


def with_fields(decoded: Any, example: Example, spec: Spec) -> Any:
    """Return what an augmentation gets: the only array, or all of an example by their names.

    decoded: of the decoder, an array of the main stream or a mapping of arrays. Arrays that
    neither input.streams nor input.fields names are left out.
    """
    if not _has_several(spec):
        return decoded[spec.stream] if isinstance(decoded, Mapping) else decoded
    arrays = decoded if isinstance(decoded, Mapping) else {spec.stream: decoded}
    known = {*spec.arrays, *spec.fields}
    return {name: a for name, a in {**arrays, **example.fields}.items() if name in known}


def made(arrays: Mapping[str, Any], name: str) -> Any:
    """Return one of the arrays that an augmentation made; DataError where it made others."""
    if name not in arrays:
        raise DataError(
            f"data.augment gives {', '.join(arrays) or 'nothing'} and not {name!r}, which the "
            "config declares: use an augmentation of all arrays, such as "
            "maskmim.data.joint_crop.joint_crop"
        )
    return arrays[name]


def check_array(
    array: Any,
    expected: Field,
    name: str,
    spec: Spec,
    voids: Mapping[str, int] = MappingProxyType({}),
) -> np.ndarray:
    """Return an array of an example as it enters a batch; DataError where it does not fit.

    voids: of the streams of classes that have pixels of no class, see `no_class.voids_of`.
    Shapes must be equal. Types must be of one kind: levels of 8 bits never stand for real numbers,
    nor the other way round. Whole numbers may be of another type where their values fit; those of
    a stream of classes must be in 0 ... classes - 1 or void.
    """
    array = as_declared(array, expected, name, spec)
    if array.shape != tuple(expected.shape):
        raise DataError(
            f"data.decode and data.augment give {name!r} of shape {array.shape} where "
            f"{tuple(expected.shape)} is declared: check input, data.decode and data.augment"
        )
    dtype = np.dtype(expected.dtype)
    check_type(array, dtype, key_of(name, spec))
    if name not in voids:
        _check_values(array, dtype, name, spec)
        return array
    void = array == voids[name]
    _check_values(array[~void], dtype, name, spec)
    return settled(array, void, dtype)


def as_declared(array: Any, expected: Field, name: str, spec: Spec) -> np.ndarray:
    """Return an array; of a field that is declared without channels, without its only channel."""
    array = np.asarray(array)
    single = name in spec.fields and array.shape == (*expected.shape, 1)
    return array[..., 0] if single else array


def check_type(values: np.ndarray, expected: np.dtype, key: str = "input.dtype") -> None:
    """Raise DataError where levels of 8 bits stand for real numbers, or the other way round.

    key: of the dtype in the config.
    """
    given = np.asarray(values).dtype
    whole = given.kind in "iu" and expected.kind in "iu"
    if given.kind == expected.kind or whole:
        return
    if key != "input.dtype":
        raise DataError(
            f"data.decode and data.augment give {given} where {key} is {expected}: change {key}, "
            "or what decodes and augments this array"
        )
    raise DataError(
        f"data.decode and data.augment give {given} where input.dtype is "
        f"{expected}: use maskmim.data.decode.picture with input.dtype=uint8, and "
        "maskmim.data.decode.scaled or .as_stored with input.dtype=float32, in data.decode and in "
        "evals.decode"
    )


def key_of(name: str, spec: Spec, key: str = "dtype") -> str:
    """Return the key of the config that says the dtype (or another fact) of an array."""
    if name in spec.fields:
        return f"input.fields.{name}.{key}"
    return f"input.streams.{name}.{key}" if name in spec.streams else f"input.{key}"


def _check_values(array: np.ndarray, expected: np.dtype, name: str, spec: Spec) -> None:
    """Raise DataError where whole numbers are beyond their type, UnknownClass beyond classes."""
    one = spec.arrays.get(name)
    classes = one.classes if one else 0
    if not array.size or (np.can_cast(array.dtype, expected) and not classes):
        return
    if expected.kind not in "iu":
        return
    low, high = int(array.min()), int(array.max())
    if classes and low < 0:
        raise DataError(
            f"{name!r} has the value {low}, but indices of {key_of(name, spec, 'classes')} are 0 "
            f"... {classes - 1}: change what decodes this stream"
        )
    if classes and high >= classes:
        error = UnknownClass(high, classes)
        error.stream = name
        raise error
    limits = np.iinfo(expected)
    if low < limits.min or high > limits.max:
        raise DataError(
            f"{name!r} has values from {low} to {high}, but {key_of(name, spec)} is {expected}"
        )
