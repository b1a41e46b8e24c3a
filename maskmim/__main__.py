"""The list of commands, which `python -m maskmim` prints."""

from __future__ import annotations

import ast
import shlex
import sys
from pathlib import Path

from maskmim import __version__
from maskmim.errors import DONE, USAGE
from maskmim.runtime.output import print_line, protect_streams

HERE = Path(__file__).parent
FIRST = ("train", "evaluate", "plan", "gallery")


def main(argv: list[str]) -> int:
    """Print the commands; with the name of a command, say how to run it. Return an exit code."""
    commands = summaries()
    if not argv or argv[0] in ("-h", "--help"):
        print(listing(commands))
        return DONE
    if argv[0] in commands:
        line = shlex.join([f"maskmim.{argv[0]}", *argv[1:]])
        print_line(f"maskmim: error: run it as: python -m {line}")
    else:
        known = ", ".join(commands)
        print_line(f"maskmim: error: there is no command {argv[0]!r}; there are {known}")
    return USAGE


def summaries() -> dict[str, str]:
    """Return {command: first line of its docstring}, without importing them."""
    found = {}
    for file in sorted(HERE.glob("*.py")):
        text = file.read_text(encoding="utf-8")
        if file.name != Path(__file__).name and '\nif __name__ == "__main__":' in text:
            found[file.stem] = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    first = {name: found.pop(name) for name in FIRST}
    return first | found


def listing(commands: dict[str, str]) -> str:
    """Return the text that lists the commands."""
    width = max(map(len, commands))
    lines = [f"  python -m maskmim.{name:<{width}}  {text}" for name, text in commands.items()]
    return "\n".join(
        [
            f"maskmim {__version__}: masked-image-modelling pretraining in JAX. Commands:",
            "",
            *lines,
            "",
            "Each explains itself with --help. To begin, which takes minutes on a laptop:",
            "",
            "  python -m maskmim.train --config quickstart --workdir runs/quickstart",
        ]
    )


if __name__ == "__main__":
    protect_streams()
    sys.exit(main(sys.argv[1:]))
