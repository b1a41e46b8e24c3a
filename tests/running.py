"""Running the commands in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def command(module: str, *arguments: str) -> list[str]:
    """The words of `python -m maskmim.<module>`."""
    return [sys.executable, "-m", f"maskmim.{module}", *map(str, arguments)]


def environment(**changes: str) -> dict[str, str]:
    """This environment on the CPU, with the project importable."""
    found = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    found.pop("JAX_DISABLE_MOST_OPTIMIZATIONS", None)  # of tests/conftest.py
    return {**found, **changes}


def run(module: str, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, output captured."""
    return subprocess.run(
        command(module, *arguments),
        cwd=ROOT,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def start(module: str, *arguments: str, output: Path) -> subprocess.Popen:
    """Starts a command with its output in a file."""
    with output.open("ab") as stream:
        return subprocess.Popen(
            command(module, *arguments),
            cwd=ROOT,
            env=environment(),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
