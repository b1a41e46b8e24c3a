"""The trackers of a run, each in a thread of its own, none of which can stop or slow a training."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from maskmim.config.bricks import bind
from maskmim.config.returned import returned
from maskmim.errors import count_of, first_line
from maskmim.reporting.trackers.tracker import Tracker, identify

logger = logging.getLogger("maskmim")

# A service that is away may take minutes to say so. A scheduler that stops a job waits for 30 s.
CLOSE_SECONDS = 20.0
# Calls that may wait for a slow tracker; further ones are left out, and count as failures.
MOST_WAITING = 10_000


def make_trackers(config: ConfigDict, *, enabled: bool = True) -> Trackers:
    """Return the trackers of `config.log.trackers`, imported, but not started.

    enabled: False on all processes but one, which get none.
    Raises UserError for a library that is not installed, and whatever else a brick refuses.
    """
    made = {}
    for name, make in bind(config.log.trackers, "log.trackers").items() if enabled else ():
        made[name] = returned(make(), Tracker, f"log.trackers.{name}.brick", make)
    return Trackers(made)


class Trackers:
    """Trackers by name, that get what the log gets.

    Calls return at once; each tracker works them off in order, in its thread. Of each tracker the
    first failure is logged as a warning, all are counted. One that cannot start gets no more calls.
    Use it as a context manager after `start`: leaving it closes all, within CLOSE_SECONDS.
    """

    def __init__(self, trackers: Mapping[str, Tracker]):
        self._each = [_Guarded(name, tracker) for name, tracker in trackers.items()]

    def start(self, config: ConfigDict, workdir: Path, *, anew: bool) -> Trackers:
        """Open the run of a work directory, or continue it.

        anew: the run begins at step 0, so that trackers get a new run.
        """
        if not self._each:
            return self
        try:
            identity, resumed = identify(workdir, anew=anew)
        except OSError as error:
            for tracker in self._each:
                tracker.refuse(error)
            return self
        for tracker in self._each:
            tracker.start(config, identity, resumed)
        return self

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def failures(self) -> dict[str, int]:
        """How many calls of each tracker failed."""
        return {tracker.name: tracker.failures for tracker in self._each}

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Give every tracker the numbers of a step."""
        for tracker in self._each:
            tracker.call(tracker.functions.write, step, dict(numbers))

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Give every tracker that takes pictures one, u8[H, W, 3]."""
        for tracker in self._each:
            if tracker.functions.image is not None:
                tracker.call(tracker.functions.image, step, name, picture)

    def close(self) -> None:
        """End all, and wait for them until CLOSE_SECONDS are over; later calls are ignored."""
        until = time.monotonic() + CLOSE_SECONDS
        for tracker in self._each:
            tracker.end()
        for tracker in self._each:
            tracker.join(until)


class _Guarded:
    """A tracker in its thread."""

    def __init__(self, name: str, tracker: Tracker):
        self.name, self.functions, self.failures = name, tracker, 0
        self._calls: queue.SimpleQueue[tuple[Callable, tuple] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, *arguments: Any) -> None:
        """Start the thread and, in it, the tracker."""
        thread = threading.Thread(
            target=self._work, args=arguments, name=f"tracker {self.name}", daemon=True
        )
        self._thread = thread
        thread.start()

    def refuse(self, error: Exception) -> None:
        """Count a tracker that cannot be started."""
        self._fail(f"could not start ({first_line(error)})")

    def call(self, function: Callable, *arguments: Any) -> None:
        """Let the thread call a function; do nothing where the tracker is not running."""
        if self._thread is None:
            return
        if self._calls.qsize() >= MOST_WAITING:
            self._fail(f"is {MOST_WAITING:,} calls behind, and gets no more until it catches up")
        else:
            self._calls.put((function, arguments))

    def end(self) -> None:
        """Let the thread close the tracker once it has done all calls."""
        self._calls.put(None)

    def join(self, until: float) -> None:
        """Wait for the thread until a time of the monotonic clock."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        thread.join(max(0.0, until - time.monotonic()))
        if thread.is_alive():
            self._fail(f"has not sent everything within {CLOSE_SECONDS:.0f} s, and is left")
        if self.failures > 1:
            logger.warning(
                "the tracker %s failed %s in all", self.name, count_of(self.failures, "time")
            )

    def _work(self, *arguments: Any) -> None:
        try:
            self.functions.start(*arguments)
        except Exception as error:
            self.refuse(error)
            self._thread = None  # it gets no more calls
            return
        while (item := self._calls.get()) is not None:
            self._try(*item)
        self._try(self.functions.close, ())

    def _try(self, function: Callable, arguments: tuple) -> None:
        try:
            function(*arguments)
        except Exception as error:  # no failure of a tracker may stop the run
            self._fail(f"failed ({first_line(error)})")

    def _fail(self, what: str) -> None:
        self.failures += 1
        if self.failures == 1:
            logger.warning(
                "the tracker %s %s; training goes on, and metrics.jsonl has everything",
                self.name,
                what,
            )
