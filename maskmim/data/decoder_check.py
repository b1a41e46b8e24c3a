"""Whether training and evaluations read sounds and clips alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from maskmim.config.facts import bound_keywords
from maskmim.data.records import DataError

# Hyperparameters of decoders that change what an example means, and what differs with another.
MEANINGS = {
    "rate": "sounds at another pitch and speed",
    "stride": "clips at another speed",
    "frames": "clips of another length",
}


def check_same_meaning(train: Callable[..., Any], evals: Callable[..., Any]) -> None:
    """Raise DataError where the decoders of training and evaluation differ in one of MEANINGS.

    train, evals: bound bricks. Compares what both have.
    """
    ours, theirs = bound_keywords(train), bound_keywords(evals)
    for key, differs in MEANINGS.items():
        if key in ours and key in theirs and ours[key] != theirs[key]:
            raise DataError(
                f"data.decode.{key} is {ours[key]}, but evals.decode.{key} is {theirs[key]}: "
                f"evaluations would see {differs} than the training; give both the same, as by "
                f"--config.evals.decode.{key}={ours[key]}"
            )
