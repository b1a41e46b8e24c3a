"""Commands of comparisons that take hours: timed in CPU seconds, stopped with their run."""

from __future__ import annotations

import json
import platform
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

from maskmim import errors
from maskmim.files import write_atomic

LIBRARIES = ("jax", "jaxlib", "flax", "optax")


def timed_run(arguments: Sequence[str], file: Path, part: str) -> int:
    """Run maskmim.train, add its CPU seconds to those of a part in a file; return its code.

    The log of the run goes to PART.log beside the file.
    """
    before = _child_seconds()
    log = file.with_name(f"{part}.log")
    with log.open("a", encoding="utf-8") as stream:
        command = [sys.executable, "-m", "maskmim.train", *arguments]
        code = _run_and_stop_with_it(command, stream)
    seconds = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    seconds[part] = round(seconds.get(part, 0.0) + _child_seconds() - before, 1)
    write_atomic(file, json.dumps(seconds))
    if code not in (errors.DONE, errors.SAVED):
        print(f"see the end of {log}", file=sys.stderr)
    return code


def surroundings() -> dict[str, object]:
    """Return what a result was made with: the kind of machine and the versions of libraries."""
    versions = {name: version(name) for name in LIBRARIES}
    return {"machine": platform.machine(), "versions": versions}


def _run_and_stop_with_it(command: Sequence[str], output: TextIO) -> int:
    """Run a command and return its code; a SIGTERM of this process goes on to it, and it saves."""
    child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        return child.wait()
    finally:
        signal.signal(signal.SIGTERM, before)


def _child_seconds() -> float:
    """Return the CPU seconds of the processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
