"""The metrics log of a run: JSON lines, TensorBoard events, and what trackers get."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maskmim.files import set_aside, write_atomic
from maskmim.reporting.metrics_file import read_metrics
from maskmim.reporting.trackers import Trackers

if TYPE_CHECKING:
    from maskmim.reporting.events import Events

logger = logging.getLogger("maskmim")


class Log:
    """The metrics log in a work directory: metrics.jsonl, and TensorBoard events in events/.

    step:    where the run continues. Lines of later steps, left by a killed run, are removed, and
             TensorBoard discards its events of those steps. A log is never emptied, see `Lines`.
    enabled: False on all processes but one; then nothing is opened or written.
    trackers: get the same numbers and pictures; the caller starts and closes them.
    A writer that fails (full disk, lost mount) never stops training: the first failure is logged as
    a warning, all are counted in `failures`.
    """

    def __init__(
        self, workdir: Path, *, step: int, enabled: bool = True, trackers: Trackers | None = None
    ):
        self.path = Path(workdir) / "metrics.jsonl"
        self._trackers = trackers
        self.failures = 0
        self._lines: Lines | None = None
        self._events: Events | None = None
        if enabled:
            self._lines = self._guard(Lines, self.path, step)
            self._events = self._guard(_open_events, self.path.parent / "events", step)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Write {'step': step, **values} as a JSON line, and each value as a TensorBoard scalar.

        values: numbers, or arrays of one value. Values that are not finite become null in JSON,
        which cannot express them, and stay as they are in TensorBoard.
        Raises TypeError or ValueError for a value that is not a single number.
        """
        numbers = {name: to_number(value) for name, value in values.items()}
        if self._lines is not None:
            self._guard(self._lines.write, {"step": int(step), **numbers})
        if self._events is not None:
            self._guard(self._events.scalars, step, numbers)
        if self._trackers is not None:
            self._trackers.write(step, numbers)

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Write a picture u8[H, W, 3] to TensorBoard."""
        if self._events is not None:
            self._guard(self._events.picture, step, name, picture)
        if self._trackers is not None:
            self._trackers.picture(step, name, picture)

    def close(self) -> None:
        """Close the files; later writes are ignored."""
        for writer in (self._lines, self._events):
            if writer is not None:
                self._guard(writer.close)
        self._lines = self._events = self._trackers = None

    def _guard(self, act: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return act(*arguments)
        except Exception as error:  # no failure of the log may stop the run
            self.failures += 1
            if self.failures == 1:
                logger.warning(
                    "the log in %s cannot be written (%s); training goes on",
                    self.path.parent,
                    error,
                )
            return None


def _open_events(folder: Path, step: int) -> Events:
    # tensorboardX imports torch where it is installed, which takes seconds.
    from maskmim.reporting.events import Events

    return Events(folder, step)


class Lines:
    """The file metrics.jsonl, opened for appending once the rows after `step` are removed.

    A file of which no row is left gets another name instead: metrics.1.jsonl, then 2.
    """

    def __init__(self, path: Path, step: int):
        rows = [row for row in read_metrics(path) if row["step"] <= step]
        if not rows and path.exists() and path.stat().st_size:
            set_aside([path])
        write_atomic(path, "".join(json_line(row) for row in rows))
        # Unbuffered: every line reaches the file at once, and closing has nothing left to write.
        self._file = path.open("ab", buffering=0)
        self._torn = False

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row. Raises OSError where it could not be written in full."""
        data = b"\n" * self._torn + json_line(row).encode()
        self._torn = True
        written = self._file.write(data)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes were written: is the disk full?")
        self._torn = False

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def to_number(value: Any) -> int | float:
    """Return a number, or an array of one value, as a Python number.

    Raises TypeError or ValueError for anything else.
    """
    if isinstance(value, int | float):
        return value
    single = np.asarray(value).item()
    if not isinstance(single, int | float):
        raise TypeError(f"{value!r} is not a number: metrics are single numbers")
    return single


def json_line(row: Mapping[str, Any]) -> str:
    """Return a row as a line of strict JSON: numbers that are not finite become null."""
    return json.dumps({name: _finite_or_none(value) for name, value in row.items()}) + "\n"


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
