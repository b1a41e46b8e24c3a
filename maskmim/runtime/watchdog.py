"""A watchdog: ends a process that makes no progress, and writes where it was."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from maskmim.runtime import exits
from maskmim.runtime.timeline import Phase, Timeline

# Phases that every step passes through.
STEP_PHASES = ("data", "step")
# Writing must not hang on what the process hangs on: a terminal or a file system.
WRITE_SECONDS = 10.0
STDERR = 2


class PhaseTimer:
    """How long a phase has lasted while this process ran, and whether that is too long.

    limits: phase name -> seconds; 0 is no limit. A phase that starts again is timed from zero.
    gap:    seconds between two checks at most: a longer gap is time in which the process was
            stopped (Ctrl-Z, a suspended job), and does not count.
    """

    def __init__(self, limits: Callable[[str], float], *, gap: float):
        self._limits, self._gap = limits, gap
        self._phase = Phase("", 0.0)
        self._last = self._lasted = 0.0

    def check(self, phase: Phase, moment: float) -> float | None:
        """Return the seconds that the phase has lasted if that is beyond its limit, else None."""
        if phase != self._phase:
            self._phase, self._lasted = phase, min(moment - phase.since, self._gap)
        else:
            self._lasted += min(moment - self._last, self._gap)
        self._last = moment
        limit = self._limits(phase.name)
        return self._lasted if limit and self._lasted > limit else None


class Watchdog:
    """Context manager: a thread that ends the process with STUCK when a phase lasts too long.

    timeline:    what the process is doing.
    file:        where the stacks of all threads go, besides stderr.
    in_steps:    seconds for a step or a batch; elsewhere: seconds for any other phase. 0 is no
                 limit.
    end_process: called with a message once the stacks are written; must end the process.
    A thread that hangs while it holds Python's lock stops this one too; the other processes and
    their watchdogs notice.
    """

    def __init__(
        self,
        timeline: Timeline,
        file: Path,
        *,
        in_steps: float,
        elsewhere: float,
        end_process: Callable[[str], object],
    ):
        self._timeline, self._file, self._end_process = timeline, Path(file), end_process
        limits = [limit for limit in (in_steps, elsewhere) if limit]
        self._tick = min(5.0, min(limits) / 20) if limits else 0.0
        self._timer = PhaseTimer(
            lambda name: in_steps if name in STEP_PHASES else elsewhere, gap=2 * self._tick
        )
        self._done = threading.Event()

    def __enter__(self) -> Watchdog:
        if self._tick:
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()

    def _watch(self) -> None:
        while not self._done.wait(self._tick):
            phase = self._timeline.now
            lasted = self._timer.check(phase, self._timeline.clock())
            if lasted is not None:
                message = stuck_message(phase, lasted)
                exits.run_within(WRITE_SECONDS, lambda text=message: write_stacks(text, self._file))
                self._end_process(message)
                return


def stuck_message(phase: Phase, lasted: float) -> str:
    """Return the message for a phase that lasts too long: its name, its start and the setting."""
    key = "stuck_after_seconds" if phase.name in STEP_PHASES else "stuck_elsewhere_seconds"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - lasted))
    return f"no progress in {phase.name!r} since {since}, for {lasted:.0f} s (process.{key})"


def write_stacks(message: str, file: Path) -> None:
    """Write a message and the stacks of all threads to stderr and to a file."""
    line = f"maskmim: {message}; stacks of all threads, also in {file}:\n"
    with contextlib.suppress(OSError):  # a closed terminal, a full disk
        os.write(STDERR, line.encode(errors="backslashreplace"))
    faulthandler.dump_traceback(file=STDERR, all_threads=True)
    with contextlib.suppress(OSError), file.open("a", encoding="utf-8") as stream:
        stream.write(f"{message}\n")
        stream.flush()
        faulthandler.dump_traceback(file=stream, all_threads=True)
