"""Training progress as a bar on a terminal or as plain lines, and aligned text tables."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import textwrap
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TextIO

from tqdm import tqdm

# Rates are averaged over this many updates.
WINDOW = 50
NARROWEST_TEXT = 24
NARROWEST_BAR = 72  # columns: a bar, the step, loss and rates


class Mark(NamedTuple):
    """An update: its step, and the seconds of work and of waiting for data up to it."""

    step: int
    worked: float
    waited: float


class Bar(tqdm):
    """A tqdm bar without the monitoring thread, which is not needed here."""

    monitor_interval = 0


class Progress:
    """The progress of a training run of `total` steps that begins or continues at step `start`.

    images_per_step: images of a step over all devices, for images/s.
    stream:          output; a bar where it `has_room_for_a_bar`, else lines. The bar appears with
                     the first update: what comes before it is not a step.
    clock:           seconds, monotonic.
    every_seconds:   interval between plain lines; the first and the last step always have a line.
    enabled:         False on all processes but one: rates are computed, nothing is shown.
    Rates are over the last 50 updates, without the first (which waits for compilation) and without
    the time inside `pause()` (checkpoints, evaluation). Where the stream fails (a closed terminal,
    a broken pipe) nothing more is shown, and training goes on.
    """

    def __init__(
        self,
        total: int,
        start: int,
        *,
        images_per_step: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
        every_seconds: float = 15.0,
        enabled: bool = True,
    ):
        self.total, self.step, self.images_per_step = total, start, images_per_step
        self.stream, self.clock, self.every_seconds = stream or sys.stderr, clock, every_seconds
        self.enabled = enabled
        self._marks: deque[Mark] = deque(maxlen=WINDOW + 1)
        self._paused = self._waited = 0.0
        self._next_line = clock()
        self._bar: Bar | None = None
        self._with_bar = has_room_for_a_bar(self.stream)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, step: int, *, loss: float, lr: float, waited: float) -> None:
        """Show a finished step: its loss, learning rate and the rates.

        waited: seconds spent waiting for its batch.
        """
        self._waited += waited
        self._marks.append(Mark(step, self.clock() - self._paused, self._waited))
        before, self.step = self.step, step
        if self.enabled and self._with_bar:
            with self._or_never_again():
                self._bar = self._bar or self._new_bar(before)
                facts = "  ".join([f"loss {loss:.4f}", *self._rates()])
                self._bar.set_description_str(facts, refresh=False)
                self._bar.update(step - before)
        elif self.enabled and (self.clock() >= self._next_line or step == self.total):
            self._next_line = self.clock() + self.every_seconds
            position = f"step {step:>{len(str(self.total))}}/{self.total}"
            self.note("  ".join([position, f"loss {loss:.4f}", f"lr {lr:.2e}", *self._rates()]))

    def figures(self) -> dict[str, float]:
        """Return {'images_per_second', 'data_wait'} over the window; {} before two updates.

        data_wait: share of the time spent waiting for the next batch, in [0, 1].
        """
        seconds, steps, waited = self._window()
        if seconds <= 0:
            return {}
        speed = steps * self.images_per_step / seconds
        return {"images_per_second": speed, "data_wait": waited / seconds}

    def note(self, text: str) -> None:
        """Print a line without breaking the bar."""
        with self._or_never_again():
            if self._bar is not None:
                self._bar.write(text, file=self.stream)
            elif self.enabled:
                print(text, file=self.stream, flush=True)

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Exclude the time inside from the rates."""
        start = self.clock()
        try:
            yield
        finally:
            self._paused += self.clock() - start

    def close(self) -> None:
        """End the bar and leave it on the screen."""
        if self._bar is not None:
            with self._or_never_again():
                self._bar.close()
            self._bar = None

    def _new_bar(self, step: int) -> Bar:
        """Return a bar at a step."""
        shape = "{percentage:3.0f}% |{bar}| {n}/{total}  {desc}"
        return Bar(
            total=self.total, initial=step, file=self.stream, bar_format=shape, dynamic_ncols=True
        )

    @contextlib.contextmanager
    def _or_never_again(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            if self._bar is not None:
                self._bar.disable = True  # else tqdm writes once more when it is collected
            self._bar, self.enabled = None, False

    def _window(self) -> tuple[float, int, float]:
        """Return the seconds of work, the steps and the seconds of waiting within the window."""
        if len(self._marks) < 2:
            return 0.0, 0, 0.0
        first, last = self._marks[0], self._marks[-1]
        return last.worked - first.worked, last.step - first.step, last.waited - first.waited

    def _rates(self) -> list[str]:
        """Return the speed, the share of waiting and the time left; [] before two updates."""
        seconds, steps, waited = self._window()
        if seconds <= 0 or steps <= 0:
            return []
        speed = steps * self.images_per_step / seconds
        shown = f"{speed:.0f}" if speed >= 10 else f"{speed:.2g}"
        left = (self.total - self.step) * seconds / steps
        return [
            f"{shown} img/s",
            f"data wait {waited / seconds:.1%}",
            f"left {format_duration(left)}",
        ]


def has_room_for_a_bar(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that can move its cursor and is wide enough.

    A terminal made by `script` or `docker run -t` may have 0 columns, where a bar shows nothing.
    """
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return False
    try:
        return os.get_terminal_size(stream.fileno()).columns >= NARROWEST_BAR
    except (OSError, ValueError):  # it does not tell
        return True


def format_duration(seconds: float) -> str:
    """Return seconds as 0:42, 12:05, 3:02:01 or 2 d 03:02."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24:02}:{minutes:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_rows(title: str, rows: Sequence[tuple[str, str]], *, width: int | None = None) -> str:
    """Return a titled text table of (label, text) rows, the texts aligned and wrapped.

    width: columns; None for the terminal's, at most 100. Line breaks inside a text are kept. Texts
    go below their labels where the labels leave too little room.
    """
    width = width or min(100, shutil.get_terminal_size((100, 24)).columns)
    longest = max((len(label) for label, _ in rows), default=0)
    beside = longest + 2 + NARROWEST_TEXT <= width
    indent = longest + 2 if beside else 4
    lines = [title, "-" * len(title)]
    for label, text in rows:
        body = [
            " " * indent + line
            for paragraph in text.split("\n")
            for line in _wrap(paragraph, max(NARROWEST_TEXT, width - indent))
        ]
        if beside:
            body[0] = f"{label:<{indent}}" + body[0][indent:]
        else:
            lines.append(label)
        lines += [line.rstrip() for line in body]
    return "\n".join(lines)


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]
