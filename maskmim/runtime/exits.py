"""Exit codes: the contract with schedulers that restart jobs, and how errors become them.

| code | name        | meaning                                                  | start again?    |
|------|-------------|----------------------------------------------------------|-----------------|
| 0    | DONE        | finished, or nothing was left to do                      | no              |
| 1    | FAILED      | an unexpected error, with its traceback                  | perhaps         |
| 2    | USAGE       | a config, flag or path that cannot be right              | no              |
| 65   | DIVERGED    | loss or gradient not finite too many times in a row      | no              |
| 66   | BAD_DATA    | too many unreadable images, or damaged shards            | no              |
| 70   | STUCK       | no progress for too long, a process or workers are gone  | yes             |
| 74   | STORAGE     | the last state could not be saved, or not be read        | yes, with room  |
| 75   | SAVED       | stopped by a signal (TERM, INT, USR1, HUP); all is saved | yes, it resumes |
| 130  | INTERRUPTED | a second Ctrl-C, or one while nothing trains             | yes             |

Of several processes all leave with the code of the first that must. What ends a process without a
chance to say a code (SIGKILL: 137 in a shell) loses what came after the newest checkpoint, and may
be started again.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable

from maskmim.errors import FAILED, INTERRUPTED

# A pipe that nobody reads must not keep a process from leaving.
FLUSH_SECONDS = 2.0


def run(main: Callable[[list[str] | None], int], argv: list[str] | None = None) -> int:
    """The exit code of a command: `sys.exit(run(main))` under `if __name__ == "__main__"`.

    main: takes the arguments (None means sys.argv) and returns a code. What it raises is told, see
    `explain`. SystemExit, which `--help` raises, passes through.
    """
    try:
        return main(argv)
    except KeyboardInterrupt:
        print("maskmim: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        return explain(error)
    finally:
        _let_go()


def explain(error: Exception) -> int:
    """Prints an error to stderr and returns its exit code.

    One line where it has an integer `exit_code`, else its traceback, and FAILED.
    """
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        print(f"maskmim: error: {error}", file=sys.stderr)
        return code
    traceback.print_exception(error)
    return FAILED


def leave(code: int) -> None:
    """Ends this process now, from any thread, whatever the others do; never returns.

    Worker processes are killed, as they would outlive it; exit handlers are left out, as they may
    wait for what hangs.
    """
    within(FLUSH_SECONDS, _flush)
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(code)


def say(text: str) -> None:
    """Prints a line to stderr, from any thread, without waiting for a reader that does not read."""
    within(FLUSH_SECONDS, lambda: print(f"maskmim: {text}", file=sys.stderr, flush=True))


def within(seconds: float, act: Callable[[], object]) -> bool:
    """Runs `act`, and goes on without it after so many seconds; its errors are left out.

    Returns whether it ended in time.
    """

    def quietly() -> None:
        with contextlib.suppress(Exception):
            act()

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def _let_go() -> None:
    """Python replaces a command's code by 120 where its last flush fails, so nothing is left to."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
