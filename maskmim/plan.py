"""Shows what a config would do, without training: `python -m maskmim.plan --config configs/mae.py`.

Prints the method's chain, tokens, FLOPs of an image (XLA's count), parameters with their shardings
and the bytes on each device of this machine's mesh. `--compile` also compiles the real train step
and prints the memory that it needs; that takes as long as compiling does.
"""

from __future__ import annotations

import sys

from maskmim import exits, summary
from maskmim.assemble import UNOPENED, assemble
from maskmim.configuration import command_line
from maskmim.progress import sheet


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = command_line(
        argv,
        description=__doc__,
        workdir=False,
        flags={"compile": "also compile the train step and print the memory it needs"},
    )
    config = options.config
    parts = assemble(config, UNOPENED)
    about = [*summary.chain(config, parts), *summary.size(config, parts)]
    print(sheet("Plan", [*about, *summary.devices(parts)]))
    print("\n" + sheet("Parameters and shardings", summary.shardings(parts)))
    print(
        "\n"
        + sheet("Bytes on each device", summary.memory(config, parts, compiled=options.compile))
    )
    return exits.DONE


if __name__ == "__main__":
    sys.exit(exits.run(main))
