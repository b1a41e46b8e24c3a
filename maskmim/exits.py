"""Exit codes: the contract with schedulers that restart jobs, and how errors become them.

code  name      meaning                                                        start again?
0     DONE      finished, or nothing was left to do                            no
1     FAILED    an unexpected error, with its traceback                        perhaps
2     USAGE     a config, flag or path that cannot be right                    no
65    DIVERGED  loss or gradient not finite too many times in a row            no
66    BAD_DATA  too many unreadable images                                     no
75    SAVED     stopped by SIGTERM, SIGINT or SIGUSR1 after a complete save    yes, it resumes
"""

from __future__ import annotations

import sys
from collections.abc import Callable

DONE = 0
FAILED = 1
USAGE = 2
DIVERGED = 65
BAD_DATA = 66
SAVED = 75


class UserError(Exception):
    """An error that its message explains in full; shown without a traceback."""

    exit_code = USAGE


def run(main: Callable[[], int]) -> int:
    """The exit code of a command; errors with an `exit_code` become one line on stderr."""
    try:
        return main()
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        print(f"maskmim: error: {error}", file=sys.stderr)
        return code
