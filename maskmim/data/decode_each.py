"""Decoding of records that hold several streams: a decoder for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np

from maskmim.config import kinds
from maskmim.config.facts import bound_keywords, function_of
from maskmim.data.records import DataError


def each(
    rng: np.random.Generator,
    encoded: Any,
    channels: int | Mapping[str, int] = 3,
    *,
    streams: Mapping[str, Annotated[Callable[..., Any], kinds.DECODER]],
) -> dict[str, Any]:
    """Return the decoded arrays of a record by stream, each by its own decoder.

    encoded:  {name: encoded} of the record; one encoded thing alone where `streams` has one name.
    channels: {stream: channels}, or the number of all of them; fields that are decoded, such as
              label maps, are asked for one channel.
    streams:  {name of a stream or field: decoder brick}. They draw from the one generator, in the
              order of their names.
    What a record holds beside these is not decoded. Raises DataError where a record lacks one of
    them. Whatever a decoder raises has the name of its stream in `stream`.
    """
    if not isinstance(encoded, Mapping):
        encoded = _alone(encoded, streams)
    arrays = {}
    for name in sorted(streams):
        if name not in encoded:
            raise DataError(
                f"data.decode.streams has {name!r}, the records have {', '.join(sorted(encoded))}: "
                "name streams of the records, or use a source that has it"
            )
        try:
            arrays[name] = streams[name](rng, encoded[name], channels=_channels(channels, name))
        except Exception as error:  # whatever a decoder of the user raises
            error.stream = name
            raise
    return arrays


def _alone(encoded: Any, streams: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record of one part holds, under the only name that there is a decoder for."""
    if len(streams) != 1:
        raise DataError(
            f"the records hold one thing each, but data.decode.streams has {', '.join(streams)}: "
            "use a source of several streams, such as maskmim.data.stream_folders.labelled"
        )
    return {next(iter(streams)): encoded}


def _channels(channels: int | Mapping[str, int], name: str) -> int:
    """Return the channels of a stream; 1 of a field."""
    if not isinstance(channels, Mapping):
        return channels
    return int(channels.get(name, 1))


def decoders_of(decode: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Return the decoders inside a bound `each` by stream; {'': decode} for any other decoder."""
    if function_of(decode) is each:
        return dict(bound_keywords(decode)["streams"])
    return {"": decode}
