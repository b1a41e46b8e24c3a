"""Weights under our own paths, 'encoder/embed/kernel', with the config of their run beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from maskmim.config.serialize import from_json
from maskmim.config.upgrade import upgrade
from maskmim.interop.fitting import Geometry
from maskmim.interop.layout import read_arrays
from maskmim.interop.source import Source, geometry_of
from maskmim.training.build import build_method
from maskmim.types import Net, Spec

FORMAT, TITLE = "maskmim", "the layout of maskmim"


def save(path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, str]) -> None:
    """Write arrays by path; facts: metadata of the file, such as the step."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(contiguous, path, metadata={**facts, "format": FORMAT})


def is_own(path: Path) -> bool:
    """Return whether a file was written by `save`."""
    try:
        with safe_open(path, framework="np") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (OSError, SafetensorError):
        return False


def of_own_file(text: str, path: Path, spec: Spec, net: Net) -> Source:
    """Return the weights of a file as a source to begin with.

    text: how the user named it. spec, net: of the run that begins; its grid is that of the weights
    where no config.json beside them says another. Raises ConfigError for a damaged config.json.
    """
    config = path.parent / "config.json"
    geometry: Geometry = geometry_of(spec, net)
    if config.is_file():
        old, method = build_method(upgrade(from_json(config.read_text(encoding="utf-8"))))
        geometry = geometry_of(old, method.net)
    record = {"file": str(Path(text).expanduser().absolute()), "layout": TITLE}
    return Source(read_arrays(path), geometry, text, record)
