"""Print the table of the comparison of methods, from the stored results.

  python -m benchmarks.methods_compare.report            prints it
  python -m benchmarks.methods_compare.report --write    puts it into docs/methods_compare.md

docs/systems.md takes it from there: `python docs/make_systems.py`.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.methods_compare.cells import NONE, Cell, all_cells, read_results
from benchmarks.methods_compare.methods import METHODS
from maskmim import errors
from maskmim.files import write_atomic
from maskmim.runtime import exits

PAGE = Path(__file__).parents[2] / "docs/methods_compare.md"
BLOCK = re.compile(r"(<!-- table -->\n).*?(<!-- end -->)", re.DOTALL)


class Metric(NamedTuple):
    """A column: its title, the metric of a run, its scale and its digits."""

    title: str
    name: str
    scale: float = 100.0
    digits: int = 1


METRICS = (
    Metric("kNN fine %", "knn/fine/top1"),
    Metric("linear fine %", "linear/fine/top1"),
    Metric("kNN coarse %", "knn/coarse/top1"),
    Metric("linear coarse %", "linear/coarse/top1"),
    Metric("effective rank", "effective_rank", 1.0),
    Metric("held-out loss", "held_out/loss", 1.0, 3),
)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _options(argv)
    text = table(read_results())
    print(text)
    if options.write:
        page = BLOCK.sub(lambda found: f"{found[1]}{text}\n{found[2]}", PAGE.read_text("utf-8"))
        write_atomic(PAGE, page)
    return errors.DONE


def table(results: Mapping[Cell, Mapping[str, Any]]) -> str:
    """Return the rows of all methods as a Markdown table, those that were not run at the end."""
    head = ["method", "encoder", "seeds", "steps", *(metric.title for metric in METRICS)]
    lines = [f"| {' | '.join(head)} |", f"|---|---|{'--:|' * (len(head) - 2)}"]
    names = dict.fromkeys(cell.method for cell in all_cells())
    found = {
        name: [record for cell, record in results.items() if cell.method == name] for name in names
    }
    for name in sorted(names, key=lambda name: not found[name]):
        lines.append(f"| {' | '.join(row(name, found[name]))} |")
    return "\n".join(lines)


def row(name: str, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the cells of a method's row; records: of its seeds."""
    encoder = METHODS[name].about if name != NONE else ""
    first = [name, encoder or "as MAE's"]
    if not records:
        return [*first, "0", *["not run"] * (len(METRICS) + 1)]
    lengths = [record["length"].get("steps", 0) for record in records]
    steps = f"{round(statistics.fmean(lengths)):,}"
    return [*first, str(len(records)), steps, *(cell_text(metric, records) for metric in METRICS)]


def cell_text(metric: Metric, records: Sequence[Mapping[str, Any]]) -> str:
    """Return 'mean', or 'mean ± standard deviation' over seeds, '-' where nothing was measured."""
    values = [record["metrics"].get(metric.name) for record in records]
    values = [value * metric.scale for value in values if value is not None]
    if not values:
        return "-"
    text = f"{statistics.fmean(values):.{metric.digits}f}"
    return text if len(values) == 1 else f"{text} ± {statistics.stdev(values):.{metric.digits}f}"


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="into docs/methods_compare.md")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(exits.run(main))
