"""Rows that are computed already, in files beside the output, from which a run continues."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maskmim.embedding.errors import EmbedError
from maskmim.embedding.rows import Place
from maskmim.files import write_atomic

SETTINGS = "settings.json"
STATE = "state"
# Keys of the settings whose text would tell people nothing.
OPAQUE = {
    "model": "weights or another config",
    "files": "files in the source",
    "sample": "content of files in the source",
}


class Part(NamedTuple):
    """Consecutive rows.

    columns:   {name: array [n, ...]}, equally long. bad: (file, why) of the files between them.
    following: the place where the next part begins.
    """

    columns: dict[str, np.ndarray]
    bad: list[tuple[int, str]]
    following: Place


def joined(parts: Sequence[Part]) -> Part:
    """Return consecutive parts as one."""
    columns = {
        name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns
    }
    return Part(columns, [pair for part in parts for pair in part.bad], parts[-1].following)


class Parts:
    """The parts of an output, in the folder `<output>.parts` beside it.

    settings: what decides the rows, plain JSON; parts of other settings are refused.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]):
        self.folder = out.with_name(out.name + ".parts")
        self._out, self._settings = out, json.loads(json.dumps(settings))
        self.count = 0

    def open(self, *, force: bool) -> None:
        """Take the parts that are in the folder. Raises EmbedError for those of other settings.

        force: delete all parts and begin anew.
        """
        path = self.folder / SETTINGS
        if force:
            for old in self.folder.iterdir():
                old.unlink()
        stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        if stored is None:
            write_atomic(path, json.dumps(self._settings, indent=1))
        elif stored != self._settings:
            raise EmbedError(_difference(self.folder, stored, self._settings))
        while self._path(self.count).is_file():
            self.count += 1

    def add(self, part: Part) -> None:
        """Write a part, atomically."""
        state = {"bad": part.bad, "following": part.following}
        text = np.frombuffer(json.dumps(state).encode(), np.uint8)
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **{STATE: text}, **part.columns)
        write_atomic(self._path(self.count), content.getvalue())
        self.count += 1

    def __iter__(self) -> Iterator[Part]:
        for number in range(self.count):
            with self._stored(number) as stored:
                columns = {name: stored[name] for name in stored.files if name != STATE}
                yield Part(columns, *_state(stored))

    def states(self) -> Iterator[tuple[list[tuple[int, str]], Place]]:
        """Yield `bad` and `following` of each part, without reading its rows."""
        for number in range(self.count):
            with self._stored(number) as stored:
                yield _state(stored)

    def column(self, name: str) -> Iterator[np.ndarray]:
        """Yield one column of each part, without reading the others."""
        for number in range(self.count):
            with self._stored(number) as stored:
                yield stored[name]

    def _stored(self, number: int) -> Any:
        return np.load(self._path(number), allow_pickle=False)

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        shutil.rmtree(self.folder)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.npz"


def _state(stored: Any) -> tuple[list[tuple[int, str]], Place]:
    state = json.loads(stored[STATE].tobytes())
    return [(int(file), str(why)) for file, why in state["bad"]], Place(*state["following"])


def _difference(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return what differs between the settings of the parts and those of the command."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    said = [OPAQUE.get(name, f"--{name} ({old.get(name)})") for name in names]
    return (
        f"{folder} holds rows of an earlier command, with other {', '.join(said)}: repeat that "
        "command to finish it, delete the folder, or begin anew with --force"
    )
