"""One example on its way from a source to the network, tried before the first step."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maskmim.config.describe import title
from maskmim.data.batch_arrays import (
    as_declared,
    channels_of,
    check_array,
    key_of,
    output_shapes,
    size_of,
    with_fields,
)
from maskmim.data.example_errors import naming
from maskmim.data.joint_crop import check_maps_are_named
from maskmim.data.no_class import voids_of
from maskmim.data.pipeline import TRIES
from maskmim.data.records import BadImage, DataError, Example, Records, TooManyBadImages
from maskmim.errors import count_of
from maskmim.types import Field, Spec


def check_example(
    records: Records, decode: Callable, transform: Callable, spec: Spec, keys: tuple[str, str, str]
) -> None:
    """Read, decode and transform the first readable record, and compare shapes and types.

    keys: of the source, the decoder and the transform in the config, for messages.
    Raises DataError naming the key where a function fails or gives other arrays than `spec` says,
    TooManyBadImages where none of the first TRIES records can be read, as the training would.
    Fewer that cannot be read are left to the training, which counts them.
    """
    source_key, decode_key, _ = keys
    if not len(records):
        raise DataError(f"{source_key} has no examples")
    first = None
    for index in range(min(TRIES, len(records))):
        try:
            with naming(records, index, spec, decode, decode_key) as files:
                example = _call(source_key, lambda i=index: records[i])
                files.update(example.files)
                _check_one(example, decode, transform, spec, keys)
            return
        except BadImage as error:
            first = first or error
    tried = count_of(min(TRIES, len(records)), "record")
    raise TooManyBadImages(
        f"{source_key}: none of the first {tried} can be read, from {records.name(0)} on "
        f"({first}): check the data, input.channels and {decode_key}"
    )


def _check_one(
    example: Example,
    decode: Callable,
    transform: Callable,
    spec: Spec,
    keys: tuple[str, str, str],
) -> None:
    """Decode and transform an example, and check what comes out; raises as `check_example`."""
    _, decode_key, transform_key = keys
    rng, channels = np.random.default_rng(0), channels_of(spec, example.encoded)
    decoded = _call(decode_key, lambda: decode(rng, example.encoded, channels=channels), decode)
    check_maps_are_named(transform, spec, transform_key)
    given = _call(decode_key, lambda: with_fields(decoded, example, spec), decode)
    made = _call(transform_key, lambda: transform(rng, given, size=size_of(spec)), transform)
    arrays = made if isinstance(made, Mapping) else {spec.stream: made}
    where, voids = f"{transform_key} ({title(transform)}) gives", voids_of(decode, spec, decode_key)
    for name, expected in output_shapes(transform, spec).items():
        _check(arrays, name, expected, spec, (where, transform_key, decode_key))
        check_array(arrays[name], expected, name, spec, voids)


def check_labels(records: Records, spec: Spec) -> None:
    """Raise DataError where the data lack a label set that the method learns from, or exceed it.

    A class beyond the declared ones has no place in what the method learns, and its loss would not
    be a number.
    """
    for name, classes in spec.labels.items():
        if name not in records.labels:
            raise DataError(
                f"input.labels has {name!r}, the training data have "
                f"{', '.join(sorted(records.labels)) or 'no labels'}: declare one of these, or use "
                "a method that needs no labels"
            )
        known = len(records.labels[name])
        if classes < known:
            raise DataError(
                f"input.labels.{name} is {classes}, but {name!r} has {known} classes: set "
                f"input.labels.{name}={known}"
            )


def _check(
    arrays: Mapping[str, Any], name: str, expected: Field, spec: Spec, words: tuple[str, str, str]
) -> None:
    """Raise DataError where an array is missing, or its shape or dtype does not fit.

    words: how sentences begin, and the keys of the transform and the decoder.
    """
    where, transform_key, decode_key = words
    if name not in arrays:
        raise DataError(f"{where} {', '.join(arrays)} and not {name!r}")
    array, shape = as_declared(arrays[name], expected, name, spec), tuple(expected.shape)
    if array.shape != shape:
        raise DataError(
            f"{where} {name!r} of shape {array.shape} where the config wants {shape}: "
            f"check {transform_key}, {decode_key} and input"
        )
    key = key_of(name, spec)
    kinds = {array.dtype.kind, np.dtype(expected.dtype).kind}
    if len(kinds) > 1 and kinds != {"i", "u"}:
        raise DataError(
            f"{where} {name!r} of type {array.dtype} where {key} is {expected.dtype}: check "
            f"{transform_key} and {decode_key}, or change {key}"
        )


def _call(key: str, act: Callable[[], Any], brick: Callable | None = None) -> Any:
    """Call a function of the config; DataError with its key and line where it fails otherwise."""
    try:
        return act()
    except Exception as error:  # whatever a function of the user raises
        if isinstance(error, BadImage) or isinstance(getattr(error, "exit_code", None), int):
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        name = f" ({title(brick)})" if brick else ""
        failed = DataError(
            f"{key}{name} fails on the first example: {type(error).__name__}: {error} "
            f"({Path(frame.filename).name}, line {frame.lineno})"
        )
        failed.stream = getattr(error, "stream", "")
        raise failed from error
