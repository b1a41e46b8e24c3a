"""What a command prints: streams that never end it, and warnings without the logger's name."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import logging
import os
import select
import sys
from collections.abc import Iterator

# What is printed beyond ASCII, for encodings that lack it.
PLAIN = {"±": "+-", "×": "x", "–": "-", "—": "-", "…": "..."}
HANDLER = "maskmim.plain"
STDOUT, STDERR = 1, 2


def to_plain(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding lacks: '±' by '+-', others by their escapes.

    An error handler for `codecs.register_error`. Raises the error where it is not of encoding.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    words = (PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking)
    return "".join(words), error.end


class LossyFile(io.FileIO):
    """A file whose writes never fail: what a full disk or a closed pipe refuses is lost.

    The first loss on stdout is told on stderr, unless the reader of a pipe has just left.
    """

    told = False

    def write(self, data: bytes) -> int:
        """Write bytes and return their count; wait for a full pipe that does not block."""
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])
        except OSError as error:
            if self.fileno() == STDOUT and not self.told and error.errno != errno.EPIPE:
                self.told = True
                line = f"maskmim: warning: stdout cannot be written ({error.strerror})\n"
                with contextlib.suppress(OSError):
                    os.write(STDERR, line.encode())
            return len(data)
        return written


def protect_streams() -> None:
    """Replace sys.stdout and sys.stderr by streams to which printing never fails.

    Closed pipes, full disks, closed terminals and encodings that lack a character then lose output
    and nothing else; a stream that was closed from the start (`>&-`) becomes /dev/null. Streams
    that are not those of the process, as in notebooks, stay as they are.
    """
    codecs.register_error(HANDLER, to_plain)
    for name, number in (("stdout", STDOUT), ("stderr", STDERR)):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = open(os.devnull, "w", encoding="utf-8", errors=HANDLER)  # noqa: SIM115
            setattr(sys, name, nowhere)
        elif stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):
                stream.flush()
            setattr(sys, name, _lossy(stream, number))


def _lossy(stream: io.TextIOWrapper, number: int) -> io.TextIOWrapper:
    """Return a stream to the same file descriptor that never fails."""
    return io.TextIOWrapper(
        io.BufferedWriter(LossyFile(number, "w", closefd=False)),
        encoding=stream.encoding,
        errors=HANDLER,
        line_buffering=stream.line_buffering or stream.write_through,
    )


class PlainHandler(logging.Handler):
    """A handler that prints `maskmim: warning: ...` to stderr, above a progress bar, if any.

    Unlike logging's default it shows no logger's name.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        print_line(f"maskmim: {record.levelname.lower()}: {record.getMessage()}")


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Print what the package's logger gets in the words of a command, while inside."""
    logger, handler = logging.getLogger("maskmim"), PlainHandler()
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated


def print_line(text: str) -> None:
    """Print a line to stderr, from any thread, without breaking a progress bar."""
    if "tqdm" in sys.modules:  # it is imported before there is a bar
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr)
    sys.stderr.flush()
