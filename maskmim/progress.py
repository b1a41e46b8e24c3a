"""What the user sees while training: a bar on a terminal, plain lines elsewhere; and sheets."""

from __future__ import annotations

import contextlib
import shutil
import sys
import textwrap
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from tqdm import tqdm

WINDOW = 50


class Progress:
    """Follows a training of `total` steps from step `start` on.

    images_per_step: for images/s. every_seconds: between plain lines, where there is no terminal.
    Rates are over the last 50 steps; time inside `pause()` (checkpoints, evaluation) is left out.
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
    ):
        self.total, self.step, self.images_per_step = total, start, images_per_step
        self.stream, self.clock, self.every_seconds = stream or sys.stderr, clock, every_seconds
        self._paused = 0.0
        self._marks: deque[tuple[float, float]] = deque(maxlen=WINDOW + 1)
        self._spoke = clock()
        self._text = ""
        self._bar = None
        if self.stream.isatty():
            shape = "{percentage:3.0f}% |{bar}| {n}/{total} {postfix}"
            self._bar = tqdm(
                total=total, initial=start, file=self.stream, bar_format=shape, dynamic_ncols=True
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, step: int, *, loss: float, lr: float, waited: float) -> None:
        """Tells of a finished step: its loss, learning rate and seconds waited for its batch."""
        self._marks.append((self.clock() - self._paused, waited))
        done, self.step = step - self.step, step
        self._text = f"loss {loss:.4f}  lr {lr:.2e}  {self._rates()}"
        if self._bar is not None:
            self._bar.set_postfix_str(self._text, refresh=False)
            self._bar.update(done)
        elif self.clock() - self._spoke >= self.every_seconds or step == self.total:
            self._say()

    def figures(self) -> dict[str, float]:
        """{'images_per_second', 'data_wait'} over the window, for the log; {} before two steps."""
        seconds, steps, waited = self._window()
        if not seconds:
            return {}
        return {
            "images_per_second": steps * self.images_per_step / seconds,
            "data_wait": waited / seconds,
        }

    def note(self, text: str) -> None:
        """Prints a line without breaking the bar."""
        if self._bar is not None:
            self._bar.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Leaves the time inside out of the rates."""
        began = self.clock()
        yield
        self._paused += self.clock() - began

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()

    def _window(self) -> tuple[float, int, float]:
        if len(self._marks) < 2:
            return 0.0, 0, 0.0
        seconds = self._marks[-1][0] - self._marks[0][0]
        return seconds, len(self._marks) - 1, sum(mark[1] for mark in list(self._marks)[1:])

    def _rates(self) -> str:
        seconds, steps, waited = self._window()
        if not seconds:
            return ""
        left = (self.total - self.step) * seconds / steps
        rate = steps * self.images_per_step / seconds
        return f"{rate:.0f} img/s  data wait {waited / seconds:.1%}  {duration(left)} left"

    def _say(self) -> None:
        self._spoke = self.clock()
        width = len(str(self.total))
        print(f"step {self.step:>{width}}/{self.total}  {self._text}", file=self.stream, flush=True)


def duration(seconds: float) -> str:
    """Seconds as 0:42, 12:05 or 3:02:01."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def sheet(title: str, rows: Sequence[tuple[str, str]], *, width: int | None = None) -> str:
    """A titled list of (label, text) with the texts aligned and wrapped to the terminal's width."""
    width = width or min(100, shutil.get_terminal_size((100, 24)).columns)
    label_width = min(max((len(label) for label, _ in rows), default=0), width // 2) + 2
    lines = [title, "-" * len(title)]
    for label, text in rows:
        wrapped = textwrap.wrap(text, max(20, width - label_width)) or [""]
        head = f"{label:<{label_width}}"
        lines += [head + wrapped[0], *(" " * label_width + more for more in wrapped[1:])]
    return "\n".join(lines)
