"""Draw the plot and print the table of the comparison of masks, from the stored results.

  python -m benchmarks.masks_compare.report            prints the tables
  python -m benchmarks.masks_compare.report --write    puts them and the plots into docs/

A row is a sampler: mean and standard deviation over seeds. Behind it stands the mean of its
differences from random masks, cell by cell of equal seed, with the standard error of that mean.
"""

from __future__ import annotations

import argparse
import math
import re
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.masks_compare.cells import NONE, Cell, read_results
from benchmarks.masks_compare.plot import draw
from benchmarks.masks_compare.pretraining import DATA, SAMPLERS
from maskmim import errors
from maskmim.files import save_png, write_atomic
from maskmim.runtime import exits

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/masks_compare.md"
PLOT = "images/masks_compare_{}.png"
REFERENCE = "random"
TITLES = {"cifar10": "CIFAR-10", "tiny_imagenet": "Tiny-ImageNet"}


class Metric(NamedTuple):
    """A column: its title, the part of the cell it is of, its name there, and its scale."""

    title: str
    part: str
    name: str
    scale: float = 100.0
    digits: int = 1


LOSS = "held_out/loss"
METRICS = (
    Metric("kNN %", "pretraining", "knn/class/top1"),
    Metric("linear %", "pretraining", "logistic/class/top1"),
    Metric("fine-tuned %", "fine_tuning", "label_accuracy/class"),
    Metric("segmentation mIoU %", "pretraining", "segmentation/in_context/miou"),
    Metric("loss", "pretraining", LOSS, 1.0, 4),
    Metric("effective rank", "pretraining", "effective_rank", 1.0, 1),
)
Values = Mapping[str, Mapping[int, float]]


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _options(argv)
    results = read_results()
    texts = {data: table(results, data) for data in DATA if any(c.data == data for c in results)}
    for data, text in texts.items():
        print(f"{TITLES[data]}\n\n{text}\n")
    if not options.write:
        return errors.DONE
    page = PAGE.read_text(encoding="utf-8")
    for data, text in texts.items():
        page = replaced(page, data, f"![{TITLES[data]}]({PLOT.format(data)})\n\n{text}")
        values = {metric.title: by_sampler(results, data, metric) for metric in METRICS}
        save_png(ROOT / "docs" / PLOT.format(data), draw(values, TITLES[data], [*SAMPLERS]))
    write_atomic(PAGE, page)
    return errors.DONE


def by_sampler(results: Mapping[Cell, Mapping[str, Any]], data: str, metric: Metric) -> Values:
    """Return a metric in the units of its column: {sampler: {seed: value}}.

    A network without pretraining has no loss that says something of masks.
    """
    found: dict[str, dict[int, float]] = {}
    for cell, record in results.items():
        value = record[metric.part].get(metric.name)
        if cell.sampler == NONE and metric.name == LOSS:
            continue
        if cell.data == data and value is not None:
            found.setdefault(cell.sampler, {})[cell.seed] = value * metric.scale
    return found


def table(results: Mapping[Cell, Mapping[str, Any]], data: str) -> str:
    """Return the rows of a data set as a Markdown table."""
    columns = {metric: by_sampler(results, data, metric) for metric in METRICS}
    rows = [name for name in (*SAMPLERS, NONE) if _any_value(columns, name)]
    lines = [
        "| masks | seeds | " + " | ".join(metric.title for metric in METRICS) + " |",
        "|---|--:|" + "--:|" * len(METRICS),
    ]
    for name in rows:
        cells = [cell_text(metric, columns[metric], name) for metric in METRICS]
        seeds = max(len(columns[metric].get(name, {})) for metric in METRICS)
        lines.append(f"| {name} | {seeds} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell_text(metric: Metric, values: Values, name: str) -> str:
    """Return 'mean ± deviation (difference from random masks ± its error)'."""
    own = values.get(name, {})
    if not own:
        return "-"
    text = _spread(own.values(), metric.digits)
    differences = paired(values, name)
    if name == REFERENCE or not differences:
        return text
    mean, error = mean_and_error(differences)
    shown = f"{mean:+.{metric.digits}f}"
    if not math.isnan(error):
        shown += f" ± {error:.{metric.digits}f}"
    return f"{text} ({shown})"


def paired(values: Values, name: str) -> list[float]:
    """Return the differences of a sampler from random masks, of the seeds that both have."""
    own, other = values.get(name, {}), values.get(REFERENCE, {})
    return [own[seed] - other[seed] for seed in sorted(own.keys() & other.keys())]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error, nan for a single value."""
    error = math.nan
    if len(values) > 1:
        error = statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), error


def replaced(page: str, data: str, text: str) -> str:
    """Return a page with what stands between the two comments of a data set replaced."""
    block = re.compile(rf"(<!-- {data} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not block.search(page):
        raise errors.UserError(f"{PAGE} has no place for {data}: <!-- {data} --> ... <!-- end -->")
    return block.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page)


def _spread(values: Iterable[float], digits: int) -> str:
    values = list(values)
    text = f"{statistics.fmean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {statistics.stdev(values):.{digits}f}"


def _any_value(columns: Mapping[Metric, Values], name: str) -> bool:
    return any(name in values for values in columns.values())


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="into docs/masks_compare.md")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(exits.run(main))
