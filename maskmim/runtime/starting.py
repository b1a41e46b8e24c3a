"""The first seconds of `python -m maskmim.NAME`, in which its libraries are imported."""

from __future__ import annotations

import sys
import traceback
from types import TracebackType

from maskmim.errors import INTERRUPTED, USAGE
from maskmim.runtime import activity, output


def start_command() -> None:
    """Protect the streams, tell what takes long, and explain what ends the imports.

    Call it where the command is being found and nothing is imported yet: JAX and the networks take
    seconds, on a slow disk many. Does nothing for commands of other packages.
    """
    if any(word.removeprefix("-m").startswith("maskmim.") for word in sys.orig_argv[1:3]):
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
