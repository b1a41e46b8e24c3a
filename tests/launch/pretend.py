"""Programs that replace those which the launch scripts call, and record their arguments."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.running import ROOT, environment

# Records its arguments in one write, whatever they contain, then runs the lines given for it.
NOTING = r"""#!/usr/bin/env bash
printf -v words '%s\x1f' NAME "$@"
printf '%s\x1e' "$words" >> CALLS
"""


class Pretended:
    """A folder of programs that come first in PATH."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.notes = folder / "calls"
        self.program("sleep", "")  # scripts that wait wait for nothing

    def program(self, name: str, does: str) -> Path:
        """Add a program: a few lines of bash after the recording of its arguments."""
        path = self.programs / name
        path.write_text(NOTING.replace("NAME", name).replace("CALLS", str(self.notes)) + does)
        path.chmod(0o755)
        return path

    def trainer(self, *codes: int) -> Path:
        """Add a program that exits with the codes in turn, counted for each pretended HOST."""
        return self.program(
            "trainer",
            f"count=${{HOST:-{self.folder}}}/starts\necho >> $count\ncodes=({_words(codes)})\n"
            "exit ${codes[$(($(wc -l < $count) - 1))]:-99}\n",
        )

    def calls(self, name: str) -> list[list[str]]:
        """Return the arguments of every call of a program, in order."""
        noted = self.notes.read_text().split("\x1e")[:-1] if self.notes.exists() else []
        records = [record.split("\x1f")[:-1] for record in noted]
        return [words[1:] for words in records if words[0] == name]

    def environment(self, **changes: str) -> dict[str, str]:
        """Return an environment in which these programs come first."""
        path = f"{self.programs}:{os.environ['PATH']}"
        return environment(**{"PATH": path, **changes})

    def start(self, *words: str, **changes: str) -> subprocess.Popen[str]:
        """Start a launch script from the project's root."""
        return subprocess.Popen(
            words,
            cwd=ROOT,
            env=self.environment(**changes),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a launch script to its end."""
        started = self.start(*words, **changes)
        output, errors = started.communicate(timeout=60)
        return subprocess.CompletedProcess(words, started.returncode, output, errors)


def _words(values: tuple[int, ...]) -> str:
    return " ".join(map(str, values))
