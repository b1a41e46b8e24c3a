"""Stopping on request: TERM, INT (Ctrl-C), USR1 and HUP end a run without losing finished work.

During steps the train loop reads the request, finishes its step and saves. In phases that lose
nothing (starting, compiling, pictures, evaluations, all of which follow a save) the process ends at
once, even if its main thread is in a compiler that no Python handler can interrupt: a separate
thread reads the signals.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

from maskmim import errors
from maskmim.runtime import exits
from maskmim.runtime.timeline import Timeline

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# Phases that may be cut off at any point.
INTERRUPTIBLE_PHASES = ("init", "compile", "pictures", "evaluation")
POLL_SECONDS = 0.2
# What becomes of a run whose folder is not opened yet.
UNOPENED = "no step is lost, the same command starts again"


class StopRequested(Exception):
    """A stop that was requested while the main thread waited for a batch."""


class StopSignals:
    """Context manager that records signals in `requested`, and ends the process where it may.

    timeline:    what the process is doing.
    end_process: called with a message in a phase that may be cut off; must end the process.
    Further signals change nothing, as schedulers repeat them; a second Ctrl-C ends the process with
    INTERRUPTED, and the checkpoints before stay whole. HUP is left alone where the parent ignores
    it (nohup).

    requested: name of the signal that requested the stop, '' until then.
    outcome:   () -> what becomes of the run, for the message; may be set later.
    """

    def __init__(self, timeline: Timeline, end_process: Callable[[str], object]) -> None:
        self.requested = ""
        self.outcome: Callable[[], str] = lambda: UNOPENED
        self.timeline, self._end_process = timeline, end_process
        self._old_handlers: dict[signal.Signals, object] = {}
        self._raises = False

    def __enter__(self) -> StopSignals:
        read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        self._old_wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        hangup = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []
        for number in (*SIGNALS, *hangup):
            self._old_handlers[number] = signal.signal(number, self._handle)
        threading.Thread(target=self._listen, args=(read_end,), name="signals", daemon=True).start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        os.close(self._write_end)  # the thread reads the end of the pipe, and ends

    @contextlib.contextmanager
    def raise_on_stop(self) -> Iterator[None]:
        """Raise StopRequested inside as soon as a stop is requested, or at once if it was."""
        self._raises = True
        try:
            if self.requested:
                raise StopRequested
            yield
        finally:
            self._raises = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Record a signal; Python calls this in the main thread, between bytecodes."""
        self.requested = self.requested or signal.Signals(number).name
        if self._raises:
            self._raises = False
            raise StopRequested

    def _listen(self, read_end: int) -> None:
        """Read signals in a thread, whatever the main thread does."""
        presses = 0
        while True:
            if select.select([read_end], [], [], POLL_SECONDS if self.requested else None)[0]:
                received = os.read(read_end, 1)
                if not received:
                    os.close(read_end)
                    return
                if received[0] not in self._old_handlers:
                    continue
                self.requested = self.requested or signal.Signals(received[0]).name
                presses += received[0] == signal.SIGINT
                if presses > 1:
                    exits.print_stderr("interrupted twice: leaving without saving")
                    exits.exit_now(errors.INTERRUPTED)
            if self.requested and self.timeline.now.name in INTERRUPTIBLE_PHASES:
                phase = self.timeline.now.name
                self._end_process(f"{self.requested} during {phase!r}: {self.outcome()}")
                return
