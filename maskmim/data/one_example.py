"""One example on its way from a source to the network, tried before the first step."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from maskmim.config.describe import title
from maskmim.data.pipeline import TRIES, check_type, output_shapes
from maskmim.data.records import BadImage, DataError, Records, TooManyBadImages
from maskmim.errors import count_of
from maskmim.types import Spec


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
            encoded = _call(source_key, lambda i=index: records[i]).encoded
            decoded = _call(
                decode_key, lambda e=encoded: decode(rng, e, channels=spec.channels), decode
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
    made = _call(transform_key, lambda: transform(rng, decoded, size=spec.size), transform)
    arrays = made if isinstance(made, dict) else {spec.stream: made}
    where = f"{transform_key} ({title(transform)}) gives"
    for name, shape in output_shapes(transform, spec).items():
        if name not in arrays:
            raise DataError(f"{where} {', '.join(arrays)} and not {name!r}")
        array = np.asarray(arrays[name])
        if array.shape != tuple(shape):
            raise DataError(
                f"{where} {name!r} of shape {array.shape} where the config wants {tuple(shape)}: "
                f"check {transform_key}, {decode_key} and input"
            )
        if not np.can_cast(array.dtype, np.dtype(spec.dtype), "same_kind"):
            raise DataError(
                f"{where} {name!r} of type {array.dtype} where input.dtype is {spec.dtype}: check "
                f"{transform_key} and {decode_key}, or change input.dtype"
            )
        check_type(array, np.dtype(spec.dtype))


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
