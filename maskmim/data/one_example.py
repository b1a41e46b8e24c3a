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
from maskmim.data.joint_crop import check_maps_are_named
from maskmim.data.pipeline import TRIES
from maskmim.data.records import BadImage, DataError, Records, TooManyBadImages
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
    source_key, decode_key, transform_key = keys
    if not len(records):
        raise DataError(f"{source_key} has no examples")
    rng, first = np.random.default_rng(0), None
    for index in range(min(TRIES, len(records))):
        try:
            example = _call(source_key, lambda i=index: records[i])
            decoded = _call(
                decode_key,
                lambda e=example.encoded: decode(rng, e, channels=channels_of(spec, e)),
                decode,
            )
            break
        except BadImage as error:
            first = first or error
    else:
        tried = count_of(min(TRIES, len(records)), "record")
        raise TooManyBadImages(
            f"{source_key}: none of the first {tried} can be read, from {records.name(0)} on "
            f"({first}): check the data, input.channels and {decode_key}"
        )
    check_maps_are_named(transform, spec, transform_key)
    given = _call(decode_key, lambda: with_fields(decoded, example, spec), decode)
    made = _call(transform_key, lambda: transform(rng, given, size=size_of(spec)), transform)
    arrays = made if isinstance(made, Mapping) else {spec.stream: made}
    where = f"{transform_key} ({title(transform)}) gives"
    for name, expected in output_shapes(transform, spec).items():
        _check(arrays, name, expected, spec, (where, transform_key, decode_key))


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
    """Raise DataError where an array is missing, or its shape, dtype or values do not fit.

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
    check_array(array, expected, name, spec)


def _call(key: str, act: Callable[[], Any], brick: Callable | None = None) -> Any:
    """Call a function of the config; DataError with its key and line where it fails otherwise."""
    try:
        return act()
    except Exception as error:  # whatever a function of the user raises
        if isinstance(error, BadImage) or isinstance(getattr(error, "exit_code", None), int):
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        name = f" ({title(brick)})" if brick else ""
        raise DataError(
            f"{key}{name} fails on the first example: {type(error).__name__}: {error} "
            f"({Path(frame.filename).name}, line {frame.lineno})"
        ) from error
