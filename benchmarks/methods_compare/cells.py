"""The cells of the comparison of methods and the files of their results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.methods_compare.methods import METHODS

RESULTS = Path(__file__).parent / "results"
# In place of a method: MAE's network before any step.
NONE = "none"
# Their spread over seeds is the noise of the table.
REPEATED = ("mae", "colormae")
SEEDS = (0, 1, 2)


class Cell(NamedTuple):
    """One pretraining and its evaluation."""

    method: str
    seed: int

    @property
    def name(self) -> str:
        """Return the cell's folder below the work directory: method-seed."""
        return f"{self.method}-{self.seed}"


def all_cells() -> Iterator[Cell]:
    """Yield every cell, the first seed of all before the others."""
    yield from (Cell(method, 0) for method in (NONE, *METHODS))
    for seed in SEEDS[1:]:
        yield from (Cell(method, seed) for method in (NONE, *REPEATED))


def result_file(cell: Cell, results: Path = RESULTS) -> Path:
    """Return where the results of a cell are kept."""
    return results / f"{cell.name}.json"


def read_results(results: Path = RESULTS) -> dict[Cell, Mapping[str, Any]]:
    """Return the results of all cells that are complete."""
    files = {cell: result_file(cell, results) for cell in all_cells()}
    return {
        cell: json.loads(file.read_text(encoding="utf-8"))
        for cell, file in files.items()
        if file.is_file()
    }
