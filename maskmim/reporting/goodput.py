"""The time of a run by phase, added up over all its starts."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from maskmim.files import write_atomic
from maskmim.reporting.progress import format_duration, format_rows
from maskmim.runtime.timeline import PHASES, Timeline

logger = logging.getLogger("maskmim")

# Phases that are lost when a later start repeats the steps.
STEP_PHASES = ("step", "data")
WRITE_SECONDS = 10.0


class Start(NamedTuple):
    """One start of a run.

    begun:   seconds since 1970. first: the step it continued from. last: the step it reached.
    seconds: by phase.
    """

    begun: float
    first: int
    last: int
    seconds: dict[str, float]


class Goodput:
    """The time record of a run, goodput.jsonl: a line per start, the last one kept up to date.

    first:   the step that this start continues from.
    enabled: False on all processes but one; then nothing is written.
    Logs one warning where the file cannot be written; the run goes on.
    """

    def __init__(self, workdir: Path, times: Timeline, *, first: int, enabled: bool = True):
        self.path = Path(workdir) / "goodput.jsonl"
        self._times, self._enabled = times, enabled
        self._before = read_starts(self.path) if enabled else []
        begun = time.time() - sum(times.seconds().values())
        self._current = Start(begun, first, first, {})
        self._next = times.clock()

    def reached(self, step: int) -> None:
        """Record that a step is done; write the file every WRITE_SECONDS."""
        self._current = self._current._replace(last=step)
        if self._times.clock() >= self._next:
            self.write()

    def starts(self) -> list[Start]:
        """Return all starts so far, including the current one."""
        return [*self._before, self._current._replace(seconds=self._times.seconds())]

    def write(self) -> None:
        """Write the file."""
        if not self._enabled:
            return
        self._next = self._times.clock() + WRITE_SECONDS
        try:
            write_atomic(self.path, "".join(map(_to_line, self.starts())))
        except OSError as error:
            logger.warning("%s cannot be written (%s); training goes on", self.path, error)
            self._enabled = False

    def table(self) -> str:
        """Return the table of all starts, see `goodput_table`."""
        return goodput_table(self.starts())


def read_starts(path: Path) -> list[Start]:
    """Return the starts in a goodput.jsonl, without incomplete lines; [] for a missing file."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [start for start in map(_from_line, lines) if start is not None]


def _to_line(start: Start) -> str:
    rounded = {name: round(value, 3) for name, value in start.seconds.items()}
    return (
        json.dumps({**start._asdict(), "begun": round(start.begun, 3), "seconds": rounded}) + "\n"
    )


def _from_line(line: str) -> Start | None:
    try:
        row = json.loads(line)
        seconds = {name: float(row["seconds"].get(name, 0.0)) for name in PHASES}
        return Start(float(row["begun"]), int(row["first"]), int(row["last"]), seconds)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def seconds_by_phase(starts: Sequence[Start]) -> dict[str, float]:
    """Return the seconds by phase, summed over all starts.

    starts: in chronological order.
    Steps that a later start repeated count as 'lost', with the waiting for their batches: that
    share of the 'step' and 'data' time of the start that did them first.
    """
    seconds = dict.fromkeys(PHASES, 0.0)
    for index, start in enumerate(starts):
        kept_until = min((later.first for later in starts[index + 1 :]), default=start.last)
        steps = start.last - start.first
        repeated = start.last - max(start.first, min(kept_until, start.last))
        share = repeated / steps if steps else 0.0
        for name, value in start.seconds.items():
            lost = value * share if name in STEP_PHASES else 0.0
            seconds[name] += value - lost
            seconds["lost"] += lost
    return seconds


def goodput_table(starts: Sequence[Start]) -> str:
    """Return a text table of the phases that took time: share and duration; shares sum to 100 %."""
    seconds = seconds_by_phase(starts)
    total = sum(seconds.values())
    rows = [
        (label, f"{seconds[name] / total:6.1%}  {format_duration(seconds[name])}")
        for name, label in PHASES.items()
        if name == "step" or seconds[name] > 0
    ]
    of = f" of {len(starts)} starts" if len(starts) != 1 else ""
    return format_rows(f"Time{of}: {format_duration(total)}", rows)
