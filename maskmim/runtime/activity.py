"""What the process is doing, said on stderr where it takes long.

    with activity.during("reading the folder"):
        ...

prints `reading the folder ...` after SOON seconds, and that it still goes on every EVERY seconds.
Nothing is printed for what is done sooner, and nothing outside a command.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from maskmim.runtime import output
from maskmim.runtime.timeline import Timeline

SOON, EVERY, TICK = 1.0, 8.0, 0.25
# Phases of a timeline that are worth a word, with the seconds after which they are.
PHASES = {
    "data": ("waiting for a batch", 3.0),
    "compile": ("compiling the train step, which takes seconds to minutes by its size", SOON),
    "checkpoint": ("saving a checkpoint", 2.0),
    "pictures": ("drawing pictures", 2.0),
    "evaluation": ("evaluating", SOON),
}
# Where launchers tell a process its index.
RANKS = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "TPU_WORKER_ID")

Item = TypeVar("Item")


class Doing(NamedTuple):
    """Something that the process does: in words, since when, and after how many seconds to say so.

    since: seconds of the narrator's clock.
    """

    text: str
    since: float
    soon: float = SOON


class Narrator:
    """Says what takes long.

    say:   prints a line.
    clock: seconds, monotonic.
    Of activities inside each other, only the innermost is printed. Between `start` and `stop` a
    thread calls `tick` every TICK seconds, which prints what is due.
    """

    def __init__(self, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic):
        self._say, self._clock = say, clock
        self._stack: list[Doing] = []
        self._detail = ""
        self._said: Doing | None = None
        self._last = 0.0
        self._timeline: Timeline | None = None
        self._end: threading.Event | None = None

    @contextlib.contextmanager
    def during(self, text: str) -> Iterator[None]:
        """Tell of an activity while inside."""
        doing = Doing(text, self._clock())
        outer_detail, self._detail = self._detail, ""
        self._stack.append(doing)
        try:
            yield
        finally:
            self._stack.remove(doing)
            self._detail = outer_detail

    def detail(self, text: str) -> None:
        """Set how far the innermost activity is, in words."""
        self._detail = text

    def follow(self, timeline: Timeline) -> None:
        """Tell of a timeline's phase where there is no other activity."""
        self._timeline = timeline

    def tick(self) -> None:
        """Say what goes on, if it is time."""
        doing, now = self._doing(), self._clock()
        if doing is None:
            return
        lasts = now - doing.since
        if doing != self._said:
            if lasts >= doing.soon:
                self._said, self._last = doing, now
                self._say(f"{doing.text} ...")
        elif now - self._last >= EVERY:
            self._last = now
            detail = f"{self._detail}, " if self._detail else ""
            self._say(f"{doing.text}: {detail}{lasts:.0f} s so far")

    def start(self, text: str = "") -> None:
        """Begin to tell, or begin anew; with the text of an activity without an end."""
        self._stack[:] = [Doing(text, self._clock())] if text else []
        if self._end is None:
            self._end = threading.Event()
            arguments = (self._end,)
            threading.Thread(target=self._run, args=arguments, name="narrator", daemon=True).start()

    def stop(self) -> None:
        """Tell no more, and forget what was told."""
        if self._end is not None:
            self._end.set()
        self._end = self._timeline = self._said = None
        self._stack.clear()

    def _doing(self) -> Doing | None:
        try:
            return self._stack[-1]
        except IndexError:
            phase = self._timeline.now if self._timeline else None
        if phase is None or phase.name not in PHASES:
            return None
        text, soon = PHASES[phase.name]
        return Doing(text, phase.since, soon)

    def _run(self, end: threading.Event) -> None:
        while not end.wait(TICK):
            self.tick()


_narrator = Narrator(output.print_line)
during, detail, follow = _narrator.during, _narrator.detail, _narrator.follow
stop = _narrator.stop


def counted(items: Iterable[Item], total: int, size: int = 1) -> Iterator[Item]:
    """Yield items, and tell how far the innermost activity is.

    total: of examples. size: examples in an item; the last item may hold fewer.
    """
    for number, item in enumerate(items):
        detail(f"{min(number * size, total):,} of {total:,}")
        yield item


def start(text: str = "") -> None:
    """Begin to tell what takes long, in the process of index 0; see `Narrator.start`."""
    if all(os.environ.get(name, "0") in ("", "0") for name in RANKS):
        atexit.register(stop)
        _narrator.start(text)
