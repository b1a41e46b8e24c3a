"""Where the time of a run went: phases of a process, added up over all its starts."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from maskmim.files import write_atomic
from maskmim.reporting.progress import duration, sheet
from maskmim.runtime.timeline import PHASES, Timeline

logger = logging.getLogger("maskmim")

# The part of a start that is lost with its steps.
OF_STEPS = ("step", "data")
WRITE_SECONDS = 10.0


class Start(NamedTuple):
    """One start of a run.

    begun:   seconds since 1970. first: the step it continued from. last: the step it came to.
    seconds: by phase.
    """

    begun: float
    first: int
    last: int
    seconds: dict[str, float]


class Goodput:
    """The ledger of a run, goodput.jsonl: a line for each start, the last one kept up to date.

    first:   the step that this start continues from.
    enabled: False on all processes but one; then nothing is written.
    A file that cannot be written is warned of once; the run goes on.
    """

    def __init__(self, workdir: Path, times: Timeline, *, first: int, enabled: bool = True):
        self.path = Path(workdir) / "goodput.jsonl"
        self._times, self._enabled = times, enabled
        self._before = read(self.path) if enabled else []
        begun = time.time() - sum(times.seconds().values())
        self._own = Start(begun, first, first, {})
        self._next = times.clock()

    def reached(self, step: int) -> None:
        """Notes the step that is done; writes the file where that was some seconds ago."""
        self._own = self._own._replace(last=step)
        if self._times.clock() >= self._next:
            self.write()

    def starts(self) -> list[Start]:
        """All starts so far, this one as it is now."""
        return [*self._before, self._own._replace(seconds=self._times.seconds())]

    def write(self) -> None:
        """Writes the file."""
        if not self._enabled:
            return
        self._next = self._times.clock() + WRITE_SECONDS
        try:
            write_atomic(self.path, "".join(map(_line, self.starts())))
        except OSError as error:
            logger.warning("%s cannot be written (%s); training goes on", self.path, error)
            self._enabled = False

    def table(self) -> str:
        """The shares of all starts as text for people."""
        return table(self.starts())


def read(path: Path) -> list[Start]:
    """The starts in a goodput.jsonl; lines that are not whole are left out, no file gives none."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [start for start in map(_start, lines) if start is not None]


def _line(start: Start) -> str:
    rounded = {name: round(value, 3) for name, value in start.seconds.items()}
    return (
        json.dumps({**start._asdict(), "begun": round(start.begun, 3), "seconds": rounded}) + "\n"
    )


def _start(line: str) -> Start | None:
    try:
        row = json.loads(line)
        seconds = {name: float(row["seconds"].get(name, 0.0)) for name in PHASES}
        return Start(float(row["begun"]), int(row["first"]), int(row["last"]), seconds)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def total(starts: Sequence[Start]) -> dict[str, float]:
    """Seconds by phase over all starts, in the order in which they were made.

    Steps that a later start did again are 'lost', with the waiting for their batches, in proportion
    to the steps of the start that did them first.
    """
    found = dict.fromkeys(PHASES, 0.0)
    for index, start in enumerate(starts):
        kept = min((later.first for later in starts[index + 1 :]), default=start.last)
        steps = start.last - start.first
        share = (start.last - max(start.first, min(kept, start.last))) / steps if steps else 0.0
        for name, value in start.seconds.items():
            lost = value * share if name in OF_STEPS else 0.0
            found[name] += value - lost
            found["lost"] += lost
    return found


def table(starts: Sequence[Start]) -> str:
    """A sheet for people: each phase that took time, its share and how long; shares sum to 100."""
    found = total(starts)
    whole = sum(found.values())
    plural = "s" if len(starts) != 1 else ""
    rows = [
        (label, f"{found[name] / whole:6.1%}  {duration(found[name])}")
        for name, label in PHASES.items()
        if name == "step" or found[name] > 0
    ]
    return sheet(f"Where {duration(whole)} of {len(starts)} start{plural} went", rows)
