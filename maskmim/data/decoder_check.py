"""Whether training and evaluations read sounds, clips and maps of classes alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from maskmim.config.facts import bound_keywords
from maskmim.data.decode_each import decoders_of
from maskmim.data.records import DataError

# Hyperparameters of decoders that change what an example means, and what differs with another.
MEANINGS = {
    "rate": "sounds at another pitch and speed",
    "stride": "clips at another speed",
    "frames": "clips of another length",
    "void": "other pixels without a class",
}


def check_same_meaning(train: Callable[..., Any], evals: Callable[..., Any]) -> None:
    """Raise DataError where the decoders of training and evaluation differ in one of MEANINGS.

    train, evals: bound bricks. Compares what both have, of several streams each.
    """
    theirs = decoders_of(evals)
    for name, ours in decoders_of(train).items():
        if name in theirs:
            _compare(bound_keywords(ours), bound_keywords(theirs[name]), name)


def _compare(ours: Mapping[str, Any], theirs: Mapping[str, Any], name: str) -> None:
    """Raise DataError where the keywords of two decoders differ; name: of their stream, or ''."""
    inside = f"streams.{name}." if name else ""
    for word, differs in MEANINGS.items():
        if word in ours and word in theirs and ours[word] != theirs[word]:
            key = f"{inside}{word}"
            raise DataError(
                f"data.decode.{key} is {ours[word]}, but evals.decode.{key} is {theirs[word]}: "
                f"evaluations would see {differs} than the training; give both the same, as by "
                f"--config.evals.decode.{key}={ours[word]}"
            )
