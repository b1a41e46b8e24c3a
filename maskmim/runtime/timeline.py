"""The timeline of a process: one phase at any time, and the seconds spent in each."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

# The phases, and how reports describe them.
PHASES = {
    "step": "training steps",
    "lost": "steps done again after a restart",
    "data": "waiting for batches",
    "compile": "compiling, and the first step",
    "init": "starting: imports, data, restoring",
    "checkpoint": "checkpoints",
    "evaluation": "evaluations",
    "pictures": "pictures",
    "other": "logs, all else",
}


class Phase(NamedTuple):
    """A phase and its start, in seconds of the timeline's clock."""

    name: str
    since: float


class Timeline:
    """The phases of this process since it started.

    clock: seconds, monotonic. before: seconds that passed before this was made; they count as
           'init'.
    now:   the current phase; other threads may read it.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, before: float = 0.0):
        self.clock = clock
        self.now = Phase("init", clock())
        self._ended = dict.fromkeys(PHASES, 0.0) | {"init": before}

    def enter(self, name: str) -> None:
        """End the current phase and begin another; raise KeyError for a name not in PHASES."""
        moment = self.clock()
        self._ended[name] += 0.0
        self._ended[self.now.name] += moment - self.now.since
        self.now = Phase(name, moment)

    def restart(self) -> None:
        """Forget the seconds so far and begin in 'init': another run of this process starts."""
        self._ended = dict.fromkeys(PHASES, 0.0)
        self.now = Phase("init", self.clock())

    @contextlib.contextmanager
    def during(self, name: str) -> Iterator[None]:
        """Enter a phase, and return to the outer one afterwards."""
        outer = self.now.name
        self.enter(name)
        try:
            yield
        finally:
            self.enter(outer)

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each phase until now; their sum is the age of the process."""
        totals = dict(self._ended)
        totals[self.now.name] += self.clock() - self.now.since
        return totals


def process_age() -> float:
    """Return the seconds since the process started, imports included; 0 if unknown."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))
