"""How a process ends: errors become messages and exit codes; maskmim/errors.py lists the codes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable

from maskmim.errors import FAILED, INTERRUPTED

# A pipe that nobody reads must not keep a process from ending.
FLUSH_SECONDS = 2.0


def run(main: Callable[[list[str] | None], int], argv: list[str] | None = None) -> int:
    """Run a command and return its exit code: `sys.exit(run(main))` at the end of its module.

    main: takes the arguments (None means sys.argv) and returns a code. An exception becomes a
    message and a code, see `report_error`; SystemExit, which `--help` raises, passes through.
    """
    try:
        return main(argv)
    except KeyboardInterrupt:
        print("maskmim: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        return report_error(error)
    finally:
        _release_streams()


def report_error(error: Exception) -> int:
    """Print an error to stderr and return its exit code.

    An error with an integer `exit_code` prints one line; any other prints its traceback and returns
    FAILED.
    """
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        print(f"maskmim: error: {error}", file=sys.stderr)
        return code
    traceback.print_exception(error)
    return FAILED


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


def _release_streams() -> None:
    """Flush stdout and stderr; point one that cannot be flushed at /dev/null.

    Python flushes them again at exit, and a failure there would turn the exit code into 120.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
