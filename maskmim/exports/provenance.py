"""The licence of the weights that a run began from, where their folder says it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from maskmim.checkpoints.continuation import BEGAN


class Licence(NamedTuple):
    """A licence: its name, '' where none is known, and a sentence about it."""

    name: str
    sentence: str


def licence_of(origin: Mapping[str, Any]) -> Licence:
    """Return the licence of the first weights of the chain that a run began from.

    origin: what a checkpoint records. The licence is `license` of the metadata of README.md in the
    folder of a file, as model cards have it; files that are gone or say nothing have none.
    """
    link = origin.get(BEGAN)
    while link:
        if "file" in link:
            name = _read(Path(link["file"]))
            if name:
                sentence = f"These weights carry the licence of the ones begun from: {name}."
                return Licence(name, sentence)
            return Licence("", "The licence of the weights begun from is not known: look it up.")
        link = link.get(BEGAN)
    return Licence("", "")


def _read(path: Path) -> str:
    """Return `license` of the YAML metadata beside weights; '' where there is none."""
    folder = path if path.is_dir() else path.parent
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    metadata = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license:\s*(\S.*?)\s*$", metadata[1], re.M) if metadata else None
    return found[1].strip("\"'") if found else ""
