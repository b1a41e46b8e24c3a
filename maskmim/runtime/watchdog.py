"""Ends a process that makes no progress, and says where it was."""

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
OF_STEPS = ("data", "step")
# Telling must not hang on what the process hangs on: a terminal or a file system.
TELL_SECONDS = 10.0
STDERR = 2


class Patience:
    """How long a phase has lasted while this process ran, and whether that is too long.

    limits: seconds by phase name; 0 is no limit. A phase of the same name begun anew is another.
    gap:    seconds between two looks at most: what goes beyond is time in which the process was
            stopped (Ctrl-Z, a suspended job), and does not count.
    """

    def __init__(self, limits: Callable[[str], float], *, gap: float):
        self._limits, self._gap = limits, gap
        self._phase = Phase("", 0.0)
        self._last = self._lasted = 0.0

    def look(self, phase: Phase, moment: float) -> float | None:
        """Seconds that the phase has lasted where that is beyond its limit, else None."""
        if phase != self._phase:
            self._phase, self._lasted = phase, min(moment - phase.since, self._gap)
        else:
            self._lasted += min(moment - self._last, self._gap)
        self._last = moment
        limit = self._limits(phase.name)
        return self._lasted if limit and self._lasted > limit else None


class Watchdog:
    """Context manager: a thread that ends the process with STUCK when a phase lasts too long.

    times:     what the process is doing.
    file:      where the stacks of all threads go, besides stderr.
    in_steps:  seconds for a step or a batch; elsewhere: seconds for any other phase. 0 is no limit.
    leave:     called with a message once the stacks are told; must end the process.
    A thread that hangs while it holds Python's lock stops this one too; the other processes and
    their watchdogs notice that one.
    """

    def __init__(
        self,
        times: Timeline,
        file: Path,
        *,
        in_steps: float,
        elsewhere: float,
        leave: Callable[[str], object],
    ):
        self._times, self._file, self._leave = times, Path(file), leave
        limits = [limit for limit in (in_steps, elsewhere) if limit]
        self._tick = min(5.0, min(limits) / 20) if limits else 0.0
        self._patience = Patience(
            lambda name: in_steps if name in OF_STEPS else elsewhere, gap=2 * self._tick
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
            phase = self._times.now
            lasted = self._patience.look(phase, self._times.clock())
            if lasted is not None:
                message = stuck(phase, lasted)
                exits.within(TELL_SECONDS, lambda told=message: tell_stacks(told, self._file))
                self._leave(message)
                return


def stuck(phase: Phase, lasted: float) -> str:
    """What is said of a phase that lasts too long."""
    key = "stuck_after_seconds" if phase.name in OF_STEPS else "stuck_elsewhere_seconds"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - lasted))
    return f"no progress in {phase.name!r} since {since}, for {lasted:.0f} s (process.{key})"


def tell_stacks(message: str, file: Path) -> None:
    """Writes a message and the stacks of all threads to stderr and to a file."""
    os.write(STDERR, f"maskmim: {message}; stacks of all threads, also in {file}:\n".encode())
    faulthandler.dump_traceback(file=STDERR, all_threads=True)
    with contextlib.suppress(OSError), file.open("a", encoding="utf-8") as stream:
        stream.write(f"{message}\n")
        stream.flush()
        faulthandler.dump_traceback(file=stream, all_threads=True)
