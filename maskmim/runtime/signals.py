"""A polite stop: TERM, INT (Ctrl-C), USR1 and HUP ask for it, and nothing that is done gets lost.

While steps are taken the train loop hears of it, finishes its step and saves. Where nothing would
be lost (starting, compiling, pictures, evaluations: what they follow is saved) the process leaves
at once, even if its main thread is deep in a compiler that no Python handler can interrupt: a
thread of its own reads the signals.
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
NOTHING_TO_LOSE = ("init", "compile", "pictures", "evaluation")
LOOK_SECONDS = 0.2


class Asked(Exception):
    """A stop was asked for while the main thread waited for a batch."""


class StopRequest:
    """Context manager that turns signals into `requested`, and into leaving where that is right.

    times: what the process is doing.
    leave: called with a message where it may leave at once; must end the process.
    Further signals change nothing, as schedulers repeat them; a second Ctrl-C is a person who does
    not want to wait: the process leaves with INTERRUPTED, and the checkpoints before stay whole.
    HUP is left alone where the parent ignores it (nohup).

    requested: name of the signal that asked for the stop, '' until then.
    """

    def __init__(self, times: Timeline, leave: Callable[[str], object]) -> None:
        self.requested = ""
        self.times, self._leave = times, leave
        self._before: dict[signal.Signals, object] = {}
        self._breaks = False

    def __enter__(self) -> StopRequest:
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        heard = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []
        for number in (*SIGNALS, *heard):
            self._before[number] = signal.signal(number, self._handle)
        threading.Thread(target=self._listen, args=(reading,), name="signals", daemon=True).start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._writing)  # the thread reads the end of the pipe, and ends

    @contextlib.contextmanager
    def breaks(self) -> Iterator[None]:
        """A stop that is asked for inside raises Asked, at once."""
        self._breaks = True
        try:
            if self.requested:
                raise Asked
            yield
        finally:
            self._breaks = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Runs in the main thread, once that is in Python."""
        self.requested = self.requested or signal.Signals(number).name
        if self._breaks:
            self._breaks = False
            raise Asked

    def _listen(self, reading: int) -> None:
        """Runs in a thread: hears of signals whatever the main thread does."""
        presses = 0
        while True:
            if select.select([reading], [], [], LOOK_SECONDS if self.requested else None)[0]:
                told = os.read(reading, 1)
                if not told:
                    os.close(reading)
                    return
                if told[0] not in self._before:
                    continue
                self.requested = self.requested or signal.Signals(told[0]).name
                presses += told[0] == signal.SIGINT
                if presses > 1:
                    exits.say("interrupted twice: leaving without saving")
                    exits.leave(errors.INTERRUPTED)
            if self.requested and self.times.now.name in NOTHING_TO_LOSE:
                self._leave(f"{self.requested} during {self.times.now.name!r}")
                return
