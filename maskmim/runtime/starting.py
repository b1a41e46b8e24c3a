"""The first seconds of `python -m maskmim.NAME`, in which its libraries are imported."""

from __future__ import annotations

import sys
import traceback
from types import TracebackType

from maskmim.errors import INTERRUPTED, USAGE
from maskmim.runtime import activity, output
from maskmim.runtime.allocator import keep_freed_memory


def start_command() -> None:
    """Keep freed memory, protect the streams, tell what takes long, explain what ends the imports.

    Memory comes first: a thread that allocates, as that which tells does, makes a pool of its own,
    which glibc gives to later threads and takes large pieces of from the system each time.
    Call it where the command is being found and nothing is imported yet: JAX and the networks take
    seconds, on a slow disk many. Does nothing for commands of other packages.
    """
    if any(word.removeprefix("-m").startswith("maskmim.") for word in sys.orig_argv[1:3]):
        keep_freed_memory()
        output.protect_streams()
        activity.start("starting: loading JAX and other libraries")
        sys.excepthook = explain


def explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a sentence for Ctrl-C and for variables that jax does not understand.

    An excepthook. Prints the traceback of any other error; raises SystemExit with the exit code of
    those that it knows.
    """
    frames = traceback.extract_tb(trace)
    if issubclass(kind, KeyboardInterrupt):
        output.print_line("maskmim: interrupted")
        raise SystemExit(INTERRUPTED)
    if issubclass(kind, ValueError) and frames and "/jax/_src/config" in frames[-1].filename:
        output.print_line(f"maskmim: error: {error}: set another value, or unset it")
        raise SystemExit(USAGE)
    sys.__excepthook__(kind, error, trace)
