"""The cells of the comparison of masks, their commands, and the files of their results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.masks_compare.pretraining import DATA, SAMPLERS
from maskmim.config.load import load
from maskmim.errors import UserError

CONFIG = Path(__file__).parent / "pretraining.py"
RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
# In place of a sampler: the network without pretraining, evaluated and fine-tuned alike.
NONE = "none"
# Epochs of fine-tuning over the images of pretraining: 25,000 and 60,000 images in all.
FINE_TUNING = {"cifar10": 0.5, "tiny_imagenet": 3.0}

# Sections of the pretraining that are equal in all cells and decide the numbers.
SHARED = ("input", "model", "train", "optim", "schedule", "objectives")


# Keys that bricks have got since the first cells, with the values that these cells had.
LATER = {"initial": 0.0, "stretch": 1.0}


class Cell(NamedTuple):
    """One pretraining, its evaluation and its fine-tuning."""

    data: str
    sampler: str
    seed: int

    @property
    def name(self) -> str:
        """Return the cell's folder below the work directory: data/sampler-seed."""
        return f"{self.data}/{self.sampler}-{self.seed}"


def all_cells() -> Iterator[Cell]:
    """Yield every cell, seed by seed, so that a comparison cut short is one of fewer seeds."""
    for seed in SEEDS:
        for data in DATA:
            for sampler in (*SAMPLERS, NONE):
                yield Cell(data, sampler, seed)


def commands(cell: Cell, images: Path, workdir: Path) -> dict[str, list[str]]:
    """Return the arguments of maskmim.train for the parts of a cell, in order, by their names.

    images: the folder of the data set. workdir: of all cells.
    """
    place, seed = workdir / cell.name, f"--config.seed={cell.seed}"
    about = f"data={cell.data},path={images},"
    about += "untrained" if cell.sampler == NONE else f"mask={cell.sampler}"
    pretrained, tuned = place / "pretrained", place / "fine_tuned"
    tuning = f"begin={pretrained},alone,epochs={FINE_TUNING[cell.data]}"
    if cell.sampler == NONE:
        tuning += ",from_scratch"
    return {
        "pretraining": ["--config", f"{CONFIG}:{about}", "--workdir", str(pretrained), seed],
        "fine_tuning": ["--config", f"finetune:{tuning}", "--workdir", str(tuned), seed],
    }


def protocol(data: str) -> str:
    """Return a digest of what all cells of a data set share and what decides their numbers."""
    config = load(f"{CONFIG}:data={data},path=.").to_dict()
    shared = [_as_first(config[section]) for section in SHARED]
    text = json.dumps([*shared, FINE_TUNING[data]], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _as_first(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key not in LATER or value != LATER[key]}


def result_file(cell: Cell, results: Path = RESULTS) -> Path:
    """Return where the results of a cell are kept."""
    return results / f"{cell.name}.json"


def read_results(results: Path = RESULTS) -> dict[Cell, Mapping[str, Any]]:
    """Return the results of all cells that are complete.

    Raises UserError for one of another protocol, which would be compared with these.
    """
    files = {cell: result_file(cell, results) for cell in all_cells()}
    found = {
        cell: json.loads(file.read_text(encoding="utf-8"))
        for cell, file in files.items()
        if file.is_file()
    }
    for cell, record in found.items():
        if record["protocol"] != protocol(cell.data):
            raise UserError(
                f"{files[cell]} is of another protocol: delete it and run the cell again"
            )
    return found
