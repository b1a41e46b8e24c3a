"""Exit codes: the contract with schedulers that restart jobs, and how errors become them.

| code | name        | meaning                                                  | start again?    |
|------|-------------|----------------------------------------------------------|-----------------|
| 0    | DONE        | finished, or nothing was left to do                      | no              |
| 1    | FAILED      | an unexpected error, with its traceback                  | perhaps         |
| 2    | USAGE       | a config, flag or path that cannot be right              | no              |
| 65   | DIVERGED    | loss or gradient not finite too many times in a row      | no              |
| 66   | BAD_DATA    | too many unreadable images                               | no              |
| 70   | STUCK       | no progress for too long, or a process that did not come | yes             |
| 75   | SAVED       | stopped by a signal (TERM, INT, USR1) after a whole save | yes, it resumes |
| 130  | INTERRUPTED | Ctrl-C while there was nothing to save                   | yes             |
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

DONE = 0
FAILED = 1
USAGE = 2
DIVERGED = 65
BAD_DATA = 66
STUCK = 70
SAVED = 75
INTERRUPTED = 130


class UserError(Exception):
    """An error that its message explains in full; shown without a traceback.

    Subclasses set `exit_code`. An exception of any other class that has an integer attribute of
    that name is treated alike, so that a package can take part without importing this module.
    """

    exit_code = USAGE


def run(main: Callable[[list[str] | None], int], argv: list[str] | None = None) -> int:
    """The exit code of a command: `sys.exit(run(main))` under `if __name__ == "__main__"`.

    main: takes the arguments (None means sys.argv) and returns a code. What it raises becomes one
    line on stderr where it has an `exit_code`, else its traceback and FAILED. SystemExit, which
    `--help` raises, passes through.
    """
    try:
        return main(argv)
    except KeyboardInterrupt:
        print("maskmim: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if isinstance(code, int):
            print(f"maskmim: error: {error}", file=sys.stderr)
            return code
        traceback.print_exc()
        return FAILED


def table() -> str:
    """The exit codes as a Markdown table, for --help and the docs."""
    return "\n".join(line for line in (__doc__ or "").splitlines() if line.startswith("|"))
