"""UserError, and the exit codes: the contract with schedulers that restart jobs.

| code | name        | meaning                                                   | start again?    |
|------|-------------|-----------------------------------------------------------|-----------------|
| 0    | DONE        | finished, or nothing was left to do                       | no              |
| 1    | FAILED      | an unexpected error, with its traceback                   | perhaps         |
| 2    | USAGE       | an invalid config, flag or path                           | no              |
| 65   | DIVERGED    | loss or gradient not finite too many times in a row       | no              |
| 66   | BAD_DATA    | too many unreadable images, or damaged shards             | no              |
| 70   | STUCK       | no progress for too long, or a process or worker is gone  | yes             |
| 74   | STORAGE     | the last state could not be saved, or not be read         | yes, with room  |
| 75   | SAVED       | stopped by a signal (TERM, INT, USR1, HUP), state saved   | yes, it resumes |
| 130  | INTERRUPTED | a second Ctrl-C, or Ctrl-C while nothing trains           | yes             |

All processes of a run exit with the code of the first that ends. A process that is killed before it
can return a code (SIGKILL: 137 in a shell) loses what came after the newest checkpoint; it may be
started again.
"""

from __future__ import annotations

import errno

DONE = 0
FAILED = 1
USAGE = 2
DIVERGED = 65
BAD_DATA = 66
STUCK = 70
STORAGE = 74
SAVED = 75
INTERRUPTED = 130

# Numbers of operating-system errors that say that a disk is full.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class UserError(Exception):
    """An error that its message explains in full; shown without a traceback.

    Subclasses set `exit_code`. An exception of any other class with an integer attribute of that
    name is treated alike, so that other packages need not import this module.
    """

    exit_code = USAGE


def exit_code_table() -> str:
    """Return the exit codes as a Markdown table, for --help and the docs."""
    return "\n".join(line for line in (__doc__ or "").splitlines() if line.startswith("|"))


def count_of(number: float, noun: str, plural: str = "") -> str:
    """Return a number with its noun, as messages name it: '1 image', '2,936 images', '0.5 epochs'.

    plural: of the noun, where it does not end in 's'.
    """
    text = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{text} {noun if number == 1 else plural or f'{noun}s'}"


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, at most 300 characters; its class if empty."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
