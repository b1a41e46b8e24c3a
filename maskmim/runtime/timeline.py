"""What a process is doing: one phase at any time."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

# What a process can be doing, and what people are told of it.
PHASES = {
    "step": "steps that count",
    "lost": "steps done again after a restart",
    "data": "waiting for batches",
    "compile": "compiling, with the first step of a start",
    "init": "starting: imports, data, restoring",
    "checkpoint": "checkpoints",
    "evaluation": "evaluations",
    "pictures": "pictures",
    "other": "logs and the rest",
}


class Phase(NamedTuple):
    """What is being done, and since when (seconds of the timeline's clock)."""

    name: str
    since: float


class Timeline:
    """What this process has been doing since it began: one phase at any time.

    clock: seconds, monotonic. before: seconds that passed before this was made; they are 'init'.
    now:   the phase; other threads may read it.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, before: float = 0.0):
        self.clock = clock
        self.now = Phase("init", clock())
        self._ended = dict.fromkeys(PHASES, 0.0) | {"init": before}

    def enter(self, name: str) -> None:
        """Ends the phase and begins another; KeyError for a name that is not in PHASES."""
        moment = self.clock()
        self._ended[name] += 0.0
        self._ended[self.now.name] += moment - self.now.since
        self.now = Phase(name, moment)

    @contextlib.contextmanager
    def during(self, name: str) -> Iterator[None]:
        """A phase inside another one, which goes on afterwards."""
        outer = self.now.name
        self.enter(name)
        try:
            yield
        finally:
            self.enter(outer)

    def seconds(self) -> dict[str, float]:
        """Seconds of each phase until now; their sum is the age of the process."""
        found = dict(self._ended)
        found[self.now.name] += self.clock() - self.now.since
        return found


def process_age() -> float:
    """Seconds since the process was started, interpreter and imports included; 0 if unknown."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))
