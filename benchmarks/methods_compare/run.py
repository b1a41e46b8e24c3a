"""Run the cells of the comparison of methods whose results are not there yet.

  python -m benchmarks.methods_compare.run --workdir runs/methods
  python -m benchmarks.methods_compare.run --only dbot-0 'mae-*' --minutes 60

A cell is one training and its evaluation. Every training may take the CPU time of 2,336 steps of
MAE, ten minutes on the machine of the first cells: a step is timed beside MAE's first, and the
number of steps follows. Numbers go to benchmarks/methods_compare/results, one file a cell. Cells
that have a file are left out, a cell that was stopped continues, and several machines share the
work by --only. To run a cell again, delete its file and its folder of the work directory.
`python -m benchmarks.methods_compare.report` draws the table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.cells import cell_parser, check_patterns, is_chosen, run_cells
from benchmarks.methods_compare.cells import NONE, Cell, all_cells, result_file
from benchmarks.methods_compare.step_time import CONFIG
from benchmarks.timed import surroundings, timed_run
from maskmim import errors
from maskmim.files import write_atomic
from maskmim.reporting.metrics_file import flat_metrics
from maskmim.runtime import exits

MAE_STEPS = 2336  # whose CPU time is the budget of every method


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _options(argv)
    cells = [cell for cell in all_cells() if is_chosen(cell, options.only)]
    run = partial(run_cell, workdir=options.workdir)
    return run_cells(cells, options, result_file=result_file, run=run)


def run_cell(cell: Cell, workdir: Path) -> int:
    """Train and evaluate a cell, write its results, and return the exit code of the training."""
    place = workdir.resolve() / cell.name
    place.mkdir(parents=True, exist_ok=True)
    length = length_of(cell, place / "length.json")
    about = f"steps={length['steps']}" if length else "untrained"
    method = "" if cell.method == NONE else f"method={cell.method},"
    arguments = ["--config", f"{CONFIG}:{method}{about}", "--workdir", str(place / "run")]
    arguments.append(f"--config.seed={cell.seed}")
    code = timed_run(arguments, place / "cpu_seconds.json", "training")
    if code != errors.DONE:
        return code
    results = json.loads((place / "run/results.json").read_text(encoding="utf-8"))
    seconds = json.loads((place / "cpu_seconds.json").read_text(encoding="utf-8"))
    record = {
        "cell": cell._asdict(),
        "length": length,
        "metrics": flat_metrics(results),
        "cpu_seconds_in_all": seconds["training"],
        **surroundings(),
    }
    file = result_file(cell)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, json.dumps(record, indent=1, sort_keys=True) + "\n")
    return errors.DONE


def length_of(cell: Cell, file: Path) -> dict[str, Any]:
    """Return the cost of a step in steps of MAE and the steps of the budget, {} without training.

    file: keeps them, so that a cell that continues has the same length.
    """
    if cell.method == NONE:
        return {}
    if not file.exists():
        command = [sys.executable, "-m", "benchmarks.methods_compare.step_time", cell.method]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        reference, seconds = map(float, done.stdout.split())
        cost = 1.0 if cell.method == "mae" else seconds / reference
        length = {"cost_of_a_step": round(cost, 3), "steps": round(MAE_STEPS / cost)}
        write_atomic(file, json.dumps(length))
    return json.loads(file.read_text(encoding="utf-8"))


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = cell_parser(__doc__, "runs/methods_compare")
    options = parser.parse_args(argv)
    check_patterns(parser, options.only, all_cells())
    return options


if __name__ == "__main__":
    sys.exit(exits.run(main))
