"""An encoder as a network of another library: its config, its arrays, how it is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from maskmim.exports.subject import ExportError
from maskmim.interop.layout import Arrays, Entry

# Tasks of Hugging Face's hub.
FEATURES, CLASSIFICATION = "image-feature-extraction", "image-classification"


class Counterpart(NamedTuple):
    """A network of another library with the weights of a run.

    architecture: its class or name there.
    config:  content of config.json.
    arrays:  of model.safetensors.
    load:    lines of Python that load it and take features; FOLDER stands for the folder.
    remarks: sentences about what was left out or added.
    task:    of Hugging Face's hub, for pictures.
    """

    architecture: str
    config: Mapping[str, Any]
    arrays: Arrays
    load: str
    remarks: tuple[str, ...] = ()
    task: str = FEATURES


def convert(
    entries: Sequence[Entry], leaves: Mapping[str, np.ndarray], architecture: str
) -> Arrays:
    """Return the arrays of a layout; raise ExportError for a parameter that has no place in it."""
    covered = {entry.path for entry in entries}
    if extra := sorted(set(leaves) - covered):
        raise ExportError(
            f"{architecture} has no place for {', '.join(extra)}: --to jax writes any encoder"
        )
    return {entry.name: entry.theirs_of(leaves[entry.path][entry.index]) for entry in entries}


def identity_norm(name: str, width: int) -> Arrays:
    """Return the arrays of a norm as it begins, for a network that has one more than ours."""
    return {f"{name}.weight": np.ones(width, "f4"), f"{name}.bias": np.zeros(width, "f4")}
