"""How a process ends: errors become messages and exit codes; maskmim/errors.py lists the codes."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable

from maskmim.errors import FAILED, INTERRUPTED, NO_ROOM, STORAGE, USAGE
from maskmim.runtime import activity, output
from maskmim.runtime.environment import pin_randomness

# A pipe that nobody reads must not keep a process from ending.
FLUSH_SECONDS = 2.0
# Operating-system errors of the place where files are, not of the program.
NO_ACCESS = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)


def run(main: Callable[[list[str] | None], int], argv: list[str] | None = None) -> int:
    """Run a command and return its exit code: `sys.exit(run(main))` at the end of its module.

    Random numbers are those of every environment, see `environment.pin_randomness`. Printing never
    fails, see `output.protect_streams`, and what takes long is told, see `activity`.
    main: takes the arguments (None means sys.argv) and returns a code. An exception becomes a
    message and a code, see `report_error`; SystemExit, which `--help` raises, passes through.
    """
    output.protect_streams()
    activity.start()
    try:
        for sentence in pin_randomness():
            print_stderr(sentence)
        with output.plain_warnings():
            return main(argv)
    except KeyboardInterrupt:
        print("maskmim: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        return report_error(error)
    finally:
        activity.stop()
        _flush()


def report_error(error: Exception) -> int:
    """Print an error to stderr and return its exit code.

    An error with an integer `exit_code`, and one of a file that lacks room or may not be used,
    prints one line; any other prints its traceback and returns FAILED.
    """
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        print(f"maskmim: error: {error}", file=sys.stderr)
        return code
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        print(
            f"maskmim: error: {_place(error)}: make room, then run the same command again",
            file=sys.stderr,
        )
        return STORAGE
    if isinstance(error, OSError) and error.filename and error.errno in NO_ACCESS:
        print(
            f"maskmim: error: {_place(error)}: name another path, or change its permissions",
            file=sys.stderr,
        )
        return USAGE
    traceback.print_exception(error)
    return FAILED


def _place(error: OSError) -> str:
    """Return the path of an error, if it has one, and the reason."""
    return f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror}"


def exit_now(code: int) -> None:
    """End this process at once, from any thread; never return.

    Kills worker processes, which would outlive it, and skips exit handlers, which may wait for a
    thread that hangs.
    """
    run_within(FLUSH_SECONDS, _flush)
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(code)


def print_stderr(text: str) -> None:
    """Print a line to stderr, from any thread; wait at most FLUSH_SECONDS for a full pipe."""
    run_within(FLUSH_SECONDS, lambda: print(f"maskmim: {text}", file=sys.stderr, flush=True))


def run_within(seconds: float, action: Callable[[], object]) -> bool:
    """Run `action` in a thread for at most `seconds`; return whether it ended in time.

    Its exceptions are ignored. An action that takes longer goes on in the background.
    """

    def run_quietly() -> None:
        with contextlib.suppress(Exception):
            action()

    thread = threading.Thread(target=run_quietly, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def _flush() -> None:
    """Flush stdout and stderr, where that is possible."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
