"""From `config.input` to a `Spec`: what an example is, and whether its parts fit together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ml_collections import ConfigDict

from maskmim.errors import UserError, count_of
from maskmim.types import Field, Spec

# Entries of a batch beside the arrays of an example, see `data.pipeline`.
RESERVED = ("label", "record", "bad", "reason", "valid")
DTYPES = ("uint8", "int32", "float32")
FIELD_DTYPES = (*DTYPES, "bool")
# Values that a byte has.
MOST_BYTES = 256


def spec_of(config: ConfigDict) -> Spec:
    """Return the shape and statistics of an example; UserError where they do not fit together."""
    given = config.input
    _check_names(given.stream, sorted(given.streams), sorted(given.fields))
    streams = {
        name: _stream(section, name, f"input.streams.{name}", given.size)
        for name, section in given.streams.items()
    }
    fields = {name: _field(section, name) for name, section in given.fields.items()}
    main = _stream(given, given.stream, "input", given.size)
    for label_set, classes in given.labels.items():
        if classes < 1:
            raise UserError(
                f"input.labels.{label_set} is {classes}: give the number of its classes"
            )
    return main._replace(streams=streams, fields=fields, labels=dict(given.labels))


def _check_names(main: str, streams: Sequence[str], fields: Sequence[str]) -> None:
    """Raise UserError for a name that two arrays of an example have, or another entry of a batch.

    Names are keys of the batch: each can stand for one array only.
    """
    keys = {"input.stream": [main], "input.streams": streams, "input.fields": fields}
    taken = dict.fromkeys(RESERVED, "which every batch has for itself")
    for key, names in keys.items():
        for name in names:
            where = f"{key} is {name!r}" if key == "input.stream" else f"{key} has {name!r}"
            if not name:
                raise UserError(f"{where}: give it a name, such as 'image'")
            if name in taken:
                raise UserError(f"{where}, {taken[name]}: choose another name")
        taken |= {name: f"as {key} has too" for name in names}


def _stream(given: ConfigDict, name: str, key: str, main_size: Sequence[int]) -> Spec:
    """Return the spec of one stream. key: of its section in the config, for messages."""
    if given.dtype not in DTYPES:
        raise UserError(f"{key}.dtype is {given.dtype!r}: use 'uint8', 'int32' or 'float32'")
    for fault in _wrong_classes(given, key):
        raise UserError(fault)
    names = tuple(map(str, given.channel_names))
    if names and len(set(names)) != given.channels:
        raise UserError(
            f"{key}.channel_names has {count_of(len(set(names)), 'different name')} "
            f"({', '.join(names)}), but {key}.channels is {given.channels}: name each channel "
            "once, in the order of the file"
        )
    size = tuple(main_size if given.size is None else given.size)
    pair = () if given.classes else (given.mean, given.std)
    mean, std = [_each(values, given.channels) for values in pair] or ((), ())
    return Spec(size, given.channels, mean, std, name, given.dtype, names, given.classes)


def _wrong_classes(given: ConfigDict, key: str) -> Iterator[str]:
    """Yield what does not fit together of classes, dtype and statistics of a stream."""
    if given.classes and given.dtype == "float32":
        yield (
            f"{key}.classes is {given.classes}, but {key}.dtype is 'float32': indices of classes "
            "are 'uint8' or 'int32'; set it, or set classes=0 for amounts"
        )
    if given.classes and given.channels != 1:
        yield (
            f"{key}.classes is {given.classes}, but {key}.channels is {given.channels}: an index "
            f"has one channel; set {key}.channels=1"
        )
    if given.dtype == "uint8" and given.classes > MOST_BYTES:
        yield (
            f"{key}.classes is {given.classes:,}, but {key}.dtype is 'uint8', which has "
            f"{MOST_BYTES} values: set {key}.dtype=int32"
        )
    if given.dtype == "int32" and not given.classes:
        yield (
            f"{key}.dtype is 'int32', which is for indices: give {key}.classes, or use 'float32' "
            "(or 'uint8') for amounts"
        )
    if not given.classes and not {len(given.mean), len(given.std)} <= {1, given.channels}:
        yield (
            f"{key}.mean has {count_of(len(given.mean), 'value')}, {key}.std {len(given.std)}, but "
            f"{key}.channels is {given.channels}: give one of each for each channel, or for all"
        )


def _each(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Return a value for each channel, of one value that for all."""
    return tuple(values) * (channels if len(values) == 1 else 1)


def _field(given: ConfigDict, name: str) -> Field:
    """Return a field of an example."""
    if given.shape is None:
        raise UserError(f"input.fields.{name} has no shape: set input.fields.{name}.shape")
    if given.dtype not in FIELD_DTYPES:
        raise UserError(
            f"input.fields.{name}.dtype is {given.dtype!r}: use one of {', '.join(FIELD_DTYPES)}"
        )
    return Field(tuple(given.shape), given.dtype)
