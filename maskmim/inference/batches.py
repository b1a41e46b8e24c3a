"""Batches of what users give, decoded and cropped as the run's evaluations do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from maskmim.data.batch_arrays import output_shapes
from maskmim.data.pipeline import eval_batches
from maskmim.data.records import BadImage, DataError, Example, Records
from maskmim.data.resize import resize
from maskmim.inference.loaded import InferenceError
from maskmim.training.build import bind_data, bind_evals
from maskmim.training.example_spec import RESERVED
from maskmim.types import Spec

# Batches smaller than the model's are padded to one of these times a power of it: few programs are
# compiled, and one example costs no whole batch.
STEP = 4


class Batch(NamedTuple):
    """A padded batch.

    arrays:  {name: [b, ...]} as the method takes them.
    valid:   bool[b], False for padding and for what cannot be read.
    records: i64[b] indices of the examples, -1 for padding.
    reasons: {index: why it cannot be read}.
    """

    arrays: dict[str, np.ndarray]
    valid: np.ndarray
    records: np.ndarray
    reasons: dict[int, str]


class Strict:
    """Records whose unreadable examples raise an error that names them."""

    def __init__(self, records: Records):
        self.records, self.labels = records, records.labels
        self.fingerprint = records.fingerprint

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        try:
            return self.records[index]
        except BadImage as error:
            raise _unreadable(error) from error

    def name(self, index: int) -> str:
        """Return the name of a record."""
        return self.records.name(index)


def _unreadable(error: BadImage) -> DataError:
    return DataError(f"it cannot be read ({error.reason}): leave it out, or replace it")


def padded_size(count: int, most: int) -> int:
    """Return the batch size for `count` examples: 1, 4, 16, ... where that is enough, or `most`."""
    size = 1
    while size < min(count, most):
        size *= STEP
    return min(size, most)


def batches(
    records: Records,
    spec: Spec,
    config: ConfigDict,
    *,
    most: int,
    whole: bool = False,
    as_trained: bool = False,
    strict: bool = True,
    start: int = 0,
) -> Iterator[Batch]:
    """Yield one pass over the records, in batches of one size, `padded_size` of their number.

    whole:      resize pictures without a crop, and take arrays of the model's size as they are.
    as_trained: add the arrays that only the training augmentation makes, such as views.
    strict:     raise for an unreadable example; otherwise it is not valid.
    start:      index of the first valid record; its batch is the one of a pass from 0.
    Raises InferenceError.
    """
    evals = bind_evals(config)
    decode, transform = evals.decode, evals.transform
    if whole:
        decode, transform = _as_given(decode, spec), _uncropped(transform, spec)
    if strict:
        records, decode = Strict(records), _strict(decode)
    size = padded_size(len(records), most)
    transforms = [transform]
    if as_trained:
        transforms += _further(transform, bind_data(config).augment, spec)
    passes = [
        eval_batches(
            records,
            spec=spec,
            batch_size=size,
            decode=decode,
            transform=each,
            first_batch=start // size,
        )
        for each in transforms
    ]
    try:
        for parts in zip(*passes, strict=True):
            yield _from(_joined(parts), start)
    except DataError as error:
        raise InferenceError(str(error)) from error


def blank_batches(count: int, spec: Spec, config: ConfigDict, *, most: int) -> Iterator[Batch]:
    """Yield batches of so many black examples, with the arrays that `batches` makes as trained."""
    transform = bind_evals(config).transform
    shapes = output_shapes(transform, spec)
    for each in _further(transform, bind_data(config).augment, spec):
        shapes = output_shapes(each, spec) | shapes
    size = padded_size(count, most)
    for first in range(0, count, size):
        records = np.arange(first, first + size)
        arrays = {name: np.zeros((size, *one.shape), one.dtype) for name, one in shapes.items()}
        yield Batch(arrays, records < count, records, {})


def _joined(parts: tuple[Mapping[str, Any], ...]) -> Batch:
    """Return one batch of the arrays that several transforms made of the same records."""
    first = parts[0]
    arrays: dict[str, np.ndarray] = {}
    for part in reversed(parts):
        arrays |= {name: array for name, array in part.items() if name not in RESERVED}
    bad = [int(index) for index in first["bad"] if index >= 0]
    reasons = [reason for reason in first["reason"] if reason]
    return Batch(arrays, first["valid"], first["record"], dict(zip(bad, reasons, strict=True)))


def _from(batch: Batch, start: int) -> Batch:
    """Return a batch whose records before `start` are not valid."""
    reasons = {index: reason for index, reason in batch.reasons.items() if index >= start}
    return batch._replace(valid=batch.valid & (batch.records >= start), reasons=reasons)


def _further(transform: Callable, augment: Callable, spec: Spec) -> list[Callable]:
    """Return the training augmentation where it makes arrays that the evaluation's does not."""
    made, more = (set(output_shapes(brick, spec)) for brick in (transform, augment))
    return [augment] if more - made else []


def _strict(decode: Callable[..., Any]) -> Callable[..., Any]:
    """Return a decoder that raises DataError, which names the record, for a bad one."""

    def strict(rng: np.random.Generator, encoded: Any, channels: Any) -> Any:
        try:
            return decode(rng, encoded, channels=channels)
        except BadImage as error:
            raise _unreadable(error) from error

    return strict


def _as_given(decode: Callable[..., Any], spec: Spec) -> Callable[..., Any]:
    """Return a decoder that takes arrays of the model's own size and type as they are.

    One of several streams or fields stays, as it may make the others, such as segments.
    """
    if spec.streams or spec.fields:
        return decode

    def decode_others(rng: np.random.Generator, encoded: Any, channels: Any) -> Any:
        is_ready = isinstance(encoded, np.ndarray) and encoded.shape == spec.shape
        return encoded if is_ready else decode(rng, encoded, channels=channels)

    return decode_others


def _uncropped(transform: Callable[..., Any], spec: Spec) -> Callable[..., Any]:
    """Return a transform of whole pictures.

    Where it makes more of an example than the main array, such as a blurred picture beside the
    sharp one, it stays and crops as little as it can: an array of the size stays whole.
    """
    if set(output_shapes(transform, spec)) == {spec.stream}:
        return _resized(transform)
    can = "crop_fraction" in inspect.signature(transform).parameters
    return partial(transform, crop_fraction=1.0) if can else transform


def _resized(transform: Callable[..., Any]) -> Callable[..., Any]:
    """Return a transform that resizes whole pictures, and leaves arrays of the size as they are.

    What it cannot resize so (clips, sounds, several streams) the other transform does.
    """

    def resized(rng: np.random.Generator, array: Any, size: Any) -> Any:
        if isinstance(array, np.ndarray) and array.shape[:-1] == tuple(size):
            return array
        if isinstance(array, np.ndarray) and array.ndim == 3 and len(size) == 2:
            return resize(array, size)
        return transform(rng, array, size=size)

    return resized
