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
import fnmatch
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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
    started = time.monotonic()
    for cell in all_cells():
        chosen = any(fnmatch.fnmatch(cell.name, each) for each in options.only)
        if not chosen or result_file(cell).exists():
            continue
        if options.minutes and time.monotonic() - started > 60 * options.minutes:
            print(f"{options.minutes} minutes are over; the same command continues")
            return errors.DONE
        print(f"{cell.name} ...", flush=True)
        code = run_cell(cell, options.workdir)
        if code != errors.DONE:
            print(f"{cell.name}: exit code {code}; the same command continues")
            return code
        if not options.keep:
            shutil.rmtree(options.workdir / cell.name)
    return errors.DONE


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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, default=Path("runs/methods_compare"))
    parser.add_argument("--only", nargs="+", default=["*"], metavar="CELL", help="or patterns")
    parser.add_argument("--minutes", type=float, default=0, help="begin no cell after so many")
    parser.add_argument("--keep", action="store_true", help="keep the folders of the runs")
    options = parser.parse_args(argv)
    names = [cell.name for cell in all_cells()]
    for pattern in options.only:
        if not fnmatch.filter(names, pattern):
            parser.error(f"--only {pattern}: there is no such cell; cells are {', '.join(names)}")
    return options


if __name__ == "__main__":
    sys.exit(exits.run(main))
