"""The log of a run: one JSON object a line, and TensorBoard events."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from maskmim.files import write_atomic

logger = logging.getLogger("maskmim")

FLUSH_SECONDS = 5.0


class Log:
    """Appends to metrics.jsonl and to TensorBoard events in events/ of a work directory.

    step:    where the run continues: lines of later steps, which a killed run left behind, are
             dropped, and TensorBoard is told to forget them.
    enabled: False on all processes but one; then nothing is opened or written.
    A writer that fails (a full disk, a lost mount) never stops training: the first failure is a
    warning, all are counted in `failures`.
    """

    def __init__(self, workdir: Path, *, step: int, enabled: bool = True):
        self.path = Path(workdir) / "metrics.jsonl"
        self.failures = 0
        self._lines: Lines | None = None
        self._events: Events | None = None
        if enabled:
            self._lines = self._guard(Lines, self.path, step)
            self._events = self._guard(Events, self.path.parent / "events", step)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes {'step': step, **values} as a line, and each value as a TensorBoard scalar.

        values: numbers, or arrays of one value. What is not finite is null in the line, which JSON
        has no number for, and stays what it is in TensorBoard. Raises TypeError or ValueError for
        what is no single number.
        """
        numbers = {name: number(value) for name, value in values.items()}
        if self._lines is not None:
            self._guard(self._lines.write, {"step": int(step), **numbers})
        if self._events is not None:
            self._guard(self._events.scalars, step, numbers)

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Writes a picture u8[H, W, 3] to TensorBoard."""
        if self._events is not None:
            self._guard(self._events.picture, step, name, picture)

    def close(self) -> None:
        """Closes the files; what is written later is left out."""
        for writer in (self._lines, self._events):
            if writer is not None:
                self._guard(writer.close)
        self._lines = self._events = None

    def _guard(self, act: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return act(*arguments)
        except Exception as error:  # whatever it is, the log is worth less than the run
            self.failures += 1
            if self.failures == 1:
                logger.warning(
                    "the log in %s cannot be written (%s); training goes on",
                    self.path.parent,
                    error,
                )
            return None


class Lines:
    """metrics.jsonl, opened for appending after what is later than `step` was dropped."""

    def __init__(self, path: Path, step: int):
        kept = [row for row in read(path) if row["step"] <= step]
        write_atomic(path, "".join(line(row) for row in kept))
        # Unbuffered: every line is in the file at once, and nothing is left to write at the end.
        self._file = path.open("ab", buffering=0)
        self._torn = False

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends a row; OSError where not all of it could be written."""
        data = b"\n" * self._torn + line(row).encode()
        self._torn = True
        written = self._file.write(data)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes were written: is the disk full?")
        self._torn = False

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class Events:
    """TensorBoard events, written where they are made.

    tensorboardX's own SummaryWriter hands them to a thread through a queue of ten; when that thread
    dies of a full disk, the eleventh event waits for ever, and training with it.
    """

    def __init__(self, folder: Path, step: int):
        folder.mkdir(parents=True, exist_ok=True)
        # Files are named by the second: the suffix keeps two quick starts apart.
        suffix = f".{os.getpid()}.{len(list(folder.iterdir()))}"
        self._writer = EventsWriter(str(folder / "events"), suffix)
        self._flush_at = 0.0
        start = SessionLog(status=SessionLog.START)
        self._add(Event(step=step + 1, session_log=start, wall_time=time.time()))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a scalar event for each value."""
        for name, value in values.items():
            told = summary.scalar(name, np.float32(value))
            self._add(Event(step=step, summary=told, wall_time=time.time()))

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Adds a picture u8[H, W, 3]."""
        told = summary.image(name, picture, dataformats="HWC")
        self._add(Event(step=step, summary=told, wall_time=time.time()))

    def close(self) -> None:
        """Flushes and closes the file."""
        self._writer.close()

    def _add(self, event: Event) -> None:
        self._writer.write_event(event)
        if time.monotonic() >= self._flush_at:
            self._writer.flush()
            self._flush_at = time.monotonic() + FLUSH_SECONDS


def number(value: Any) -> int | float:
    """A number, or an array of one value, as a Python number.

    Raises TypeError or ValueError for anything else.
    """
    if isinstance(value, int | float):
        return value
    single = np.asarray(value).item()
    if not isinstance(single, int | float):
        raise TypeError(f"{value!r} is not a number: metrics are single numbers")
    return single


def line(row: Mapping[str, Any]) -> str:
    """A row as a line of strict JSON: numbers that are not finite become null."""
    return json.dumps({name: _finite(value) for name, value in row.items()}) + "\n"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl in the order of the file: dicts with 'step' and more.

    None stands for a number that was not finite. Lines that are not whole, as a kill or a full disk
    leaves them, are left out; no file gives no rows.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return [row for row in map(_row, text.splitlines()) if row is not None]


def _row(text: str) -> dict[str, Any] | None:
    try:
        row = json.loads(text)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
