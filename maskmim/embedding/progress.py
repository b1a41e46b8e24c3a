"""The progress of an embedding: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import TextIO

from maskmim.errors import count_of
from maskmim.reporting.progress import Bar, format_duration, has_room_for_a_bar

EVERY_SECONDS = 15.0


class FileProgress:
    """How many of `total` files are embedded; begins or continues at file `start`.

    noun: of a row where it is not a file: 'window'. stream, clock: as of `reporting.Progress`.
    Rates leave out what came before the first batch, which waits for compilation. Where the stream
    fails (a closed terminal) nothing more is shown.
    """

    def __init__(
        self,
        total: int,
        start: int,
        *,
        noun: str = "",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.total, self.noun = total, noun
        self._stream, self._clock = stream or sys.stderr, clock
        self._next_line, self._first = clock() + EVERY_SECONDS, (0.0, start, 0)
        self._shown, self._begin, self._bar, self._rows = True, start, None, 0
        self._with_bar = has_room_for_a_bar(self._stream)

    def update(self, files: int, rows: int) -> None:
        """Show that `files` files are done, and `rows` further rows."""
        now = self._clock()
        self._rows += rows
        if not self._first[0]:
            self._first = now, files, self._rows
        if not self._shown:
            return
        facts = self._facts(now, files)
        try:
            if self._with_bar:
                self._bar = self._bar or self._new_bar()
                self._bar.set_description_str("  ".join(facts), refresh=False)
                self._bar.update(files - self._bar.n)
            elif now >= self._next_line:
                self._next_line = now + EVERY_SECONDS
                position = f"file {files:,}/{self.total:,}"
                print("  ".join([position, *facts]), file=self._stream, flush=True)
        except OSError:
            self._shown = False

    def close(self) -> None:
        """End the bar and leave it on the screen."""
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.close()

    def _facts(self, now: float, files: int) -> list[str]:
        """Return the rows, the speed and the time left, as far as they are known."""
        since, first_files, first_rows = self._first
        facts = [count_of(self._rows, self.noun)] if self.noun else []
        seconds, more = now - since, files - first_files
        if seconds > 0 and more > 0:
            speed = (self._rows - first_rows) / seconds
            shown = f"{speed:.0f}" if speed >= 10 else f"{speed:.2g}"
            left = (self.total - files) * seconds / more
            facts += [f"{shown} {self.noun or 'file'}s/s", f"left {format_duration(left)}"]
        return facts

    def _new_bar(self) -> Bar:
        shape = "{percentage:3.0f}% |{bar}| {n}/{total} files  {desc}"
        return Bar(
            total=self.total,
            initial=self._begin,
            file=self._stream,
            bar_format=shape,
            dynamic_ncols=True,
        )
