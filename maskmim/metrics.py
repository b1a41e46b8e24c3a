"""The log of a run: one JSON object per line, and TensorBoard events."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorboardX

from maskmim.workdir import write_atomic

logger = logging.getLogger("maskmim")


class Log:
    """Appends to metrics.jsonl and events/ of a work directory.

    step:    where the run continues; lines of later steps, which a killed run left, are dropped.
    enabled: False on all processes but one.
    A writer that fails is reported once, counted, and never stops training.
    """

    def __init__(self, workdir: Path, *, step: int, enabled: bool = True):
        self.path = Path(workdir) / "metrics.jsonl"
        self.failures = 0
        self._file = None
        self._events = None
        if enabled:
            self._guard(self._open, step)

    def _open(self, step: int) -> None:
        kept = [row for row in read(self.path) if row["step"] <= step]
        write_atomic(self.path, "".join(line(row) for row in kept))
        self._file = self.path.open("a", encoding="utf-8", buffering=1)
        folder = str(self.path.parent / "events")
        self._events = tensorboardX.SummaryWriter(folder, purge_step=step + 1)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line for a step; numbers that are not finite are written as null."""
        if self._file is not None:
            self._guard(self._file.write, line({"step": step, **values}))
        if self._events is not None:
            for name, value in values.items():
                self._guard(self._events.add_scalar, name, value, step)

    def close(self) -> None:
        """Closes the files."""
        for writer in (self._file, self._events):
            if writer is not None:
                self._guard(writer.close)
        self._file = self._events = None

    def _guard(self, act: Any, *arguments: Any) -> None:
        try:
            act(*arguments)
        except Exception as error:  # a full disk or a broken tracker must not cost the run
            self.failures += 1
            if self.failures == 1:
                logger.warning("the log cannot be written (%s); training goes on", error)


def line(row: Mapping[str, Any]) -> str:
    """A row as a line of JSON."""
    return json.dumps({name: finite(value) for name, value in row.items()}) + "\n"


def finite(value: Any) -> Any:
    """None for a number that JSON cannot hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; a last line that was cut off is left out, no file gives none."""
    path = Path(path)
    rows = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return rows
