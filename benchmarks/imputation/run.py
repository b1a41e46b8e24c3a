"""Compare ReMasker with scikit-learn's ways to impute, on real tables with removed cells.

  python -m benchmarks.imputation.run --workdir runs/imputation
  python -m benchmarks.imputation.run --only 'wine-mar-*' --minutes 60
  python -m benchmarks.imputation.run --report

A cell is a table, a mechanism and a seed: 30 % of the cells are removed, every way predicts the
same ones, and the error is their RMSE in units of each column's observed range. ReMasker is trained
by its published recipe (600 epochs), and once more without its loss on re-masked cells. Numbers go
to benchmarks/imputation/results, one file a cell; cells that have a file are left out, a training
that was stopped continues. --report prints the table of docs/benchmarks.md: means over seeds and
their standard deviation.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.cells import cell_parser, check_patterns, is_chosen, run_cells
from benchmarks.imputation.others import OTHERS, errors_of_others
from benchmarks.imputation.tables import NAMES, table
from benchmarks.timed import surroundings, timed_run
from maskmim import errors
from maskmim.files import write_atomic
from maskmim.reporting.metrics_file import flat_metrics
from maskmim.runtime import exits

RESULTS = Path(__file__).parent / "results"
CONFIG = "benchmarks/imputation/training.py"
MECHANISMS, SEEDS = ("mcar", "mar"), (0, 1, 2)
# Ways that are trainings, by what stands after the colon of the config.
TRAININGS = {"remasker": "", "remasker, shown cells alone": ",alone"}


class Cell(NamedTuple):
    """A table whose cells were removed in one way."""

    table: str
    mechanism: str
    seed: int

    @property
    def name(self) -> str:
        """Return the cell's folder below the work directory: table-mechanism-seed."""
        return f"{self.table}-{self.mechanism}-{self.seed}"


def all_cells() -> list[Cell]:
    """Return every cell, small tables first."""
    return [Cell(*each) for each in itertools.product(NAMES, MECHANISMS, SEEDS)]


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _options(argv)
    if options.report:
        print(report(read_results()))
        return errors.DONE
    cells = [cell for cell in all_cells() if is_chosen(cell, options.only)]
    run = partial(run_cell, workdir=options.workdir, epochs=options.epochs)
    return run_cells(cells, options, result_file=result_file, run=run)


def run_cell(cell: Cell, workdir: Path, epochs: float) -> int:
    """Impute in every way, write the results, and return the exit code of the trainings."""
    records = table(name=cell.table, mechanism=cell.mechanism, seed=cell.seed)
    found, place = errors_of_others(records), workdir.resolve() / cell.name
    place.mkdir(parents=True, exist_ok=True)
    about = f"table={cell.table},mechanism={cell.mechanism},seed={cell.seed},epochs={epochs:g}"
    for number, (name, more) in enumerate(TRAININGS.items()):
        run = place / f"run{number}"
        arguments = ["--config", f"{CONFIG}:{about}{more}", "--workdir", str(run)]
        code = timed_run(arguments, place / "cpu_seconds.json", f"training{number}")
        if code != errors.DONE:
            return code
        results = json.loads((run / "results.json").read_text(encoding="utf-8"))
        found[name] = flat_metrics(results)["imputation/rmse"]
    seconds = json.loads((place / "cpu_seconds.json").read_text(encoding="utf-8"))
    record = {
        "cell": cell._asdict(),
        "rmse": found,
        "epochs": epochs,
        "cpu_seconds": seconds,
        **surroundings(),
    }
    RESULTS.mkdir(exist_ok=True)
    write_atomic(result_file(cell), json.dumps(record, indent=1, sort_keys=True) + "\n")
    return errors.DONE


def result_file(cell: Cell) -> Path:
    """Return where the results of a cell are kept."""
    return RESULTS / f"{cell.name}.json"


def read_results() -> dict[Cell, Mapping[str, float]]:
    """Return the errors of all cells that are complete, by way."""
    files = {cell: result_file(cell) for cell in all_cells()}
    return {
        cell: json.loads(file.read_text(encoding="utf-8"))["rmse"]
        for cell, file in files.items()
        if file.is_file()
    }


def report(results: Mapping[Cell, Mapping[str, float]]) -> str:
    """Return the Markdown table: rows for tables and mechanisms, mean and deviation over seeds."""
    ways = [*OTHERS, *TRAININGS]
    lines = [f"| table | removed | seeds | {' | '.join(ways)} |", f"|---|---|{'--:|' * 6}"]
    for pair in itertools.product(NAMES, MECHANISMS):
        found = [rmse for cell, rmse in results.items() if cell[:2] == pair]
        if found:
            texts = [_text([rmse[way] for rmse in found]) for way in ways]
            lines.append(f"| {' | '.join([*pair, str(len(found)), *texts])} |")
    return "\n".join(lines)


def _text(values: list[float]) -> str:
    mean = f"{statistics.fmean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.4f}"


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = cell_parser(__doc__, "runs/imputation")
    parser.add_argument("--epochs", type=float, default=600.0, help="of the trainings")
    parser.add_argument("--report", action="store_true", help="print the table and end")
    options = parser.parse_args(argv)
    check_patterns(parser, options.only, all_cells())
    return options


if __name__ == "__main__":
    sys.exit(exits.run(main))
