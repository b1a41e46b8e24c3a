"""Pictures of a method at work: its masks and its reconstructions on images of the data."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from maskmim import files
from maskmim.config.bricks import bind
from maskmim.config.describe import title
from maskmim.data.pipeline import eval_batches
from maskmim.data.records import Records
from maskmim.evals.evaluation import Evaluation
from maskmim.evals.reconstruction import reconstruction
from maskmim.reporting import sheets
from maskmim.reporting.streams import colourise, grey_hidden
from maskmim.runtime import processes
from maskmim.training import sharding
from maskmim.training.build import Assembly, picture_channels
from maskmim.types import Array, Randomness, random_key

logger = logging.getLogger("maskmim")

SHOWN = 8
MEASURED = 256


class Spread:
    """Records that are `count` of others, evenly spread over them."""

    def __init__(self, records: Records, count: int):
        self.records = records
        self.labels, self.fingerprint = records.labels, records.fingerprint
        self.places = np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> object:
        return self.records[int(self.places[index])]

    def name(self, index: int) -> str:
        """Return the name of a record."""
        return self.records.name(int(self.places[index]))


def example_batch(parts: Assembly, count: int) -> dict[str, np.ndarray]:
    """Return `count` examples spread over the test data, or the training data without test data."""
    source = parts.evals.test or parts.data.train
    records = Spread(source(), count)
    # As many examples for each device; a remainder is left out.
    devices = parts.mesh.size
    size = max(devices, len(records) // devices * devices)
    batches = eval_batches(
        records,
        spec=parts.spec,
        batch_size=size,
        decode=parts.evals.decode,
        transform=parts.evals.transform,
    )
    return {parts.spec.stream: next(iter(batches))[parts.spec.stream]}


class Drawn(NamedTuple):
    """A sheet of reconstructions u8[H, W, 3] and how far off they are, over more images."""

    sheet: np.ndarray
    errors: dict[str, float]


def draw_masks(evaluation: Evaluation) -> np.ndarray:
    """Write images/masks.png, what the sampler hides of some examples, and return the picture."""
    config, workdir, parts, variables, *_ = evaluation
    batch = example_batch(parts, SHOWN)
    draw = jit_replicated(parts, parts.method.apply["mask"])
    masked = draw(variables, batch, _randomness(config, batch))
    net, stream = parts.method.net, parts.spec.stream
    sheet = sheets.draw_mask_sheet(
        coloured(evaluation, net.display(masked["inputs"])),
        np.asarray(masked["mask"].hidden),
        next(iter(net.grids.values())),
        title=title(bind(config.mask)),
        stream=stream,
    )
    _save(workdir, "masks.png", sheet)
    return sheet


def draw_reconstruction(evaluation: Evaluation) -> Drawn:
    """Write images/reconstruction-<step>.png of a few examples, and measure more of them."""
    config, workdir, parts, variables, step, _ = evaluation
    batch = example_batch(parts, MEASURED)
    place, randomness = sharding.replicated(parts.mesh), _randomness(config, batch)
    results = reconstruction(parts.method, variables, batch, randomness, place=place)
    count = len(next(iter(batch.values())))
    shown = np.linspace(0, count - 1, min(SHOWN, count)).round().astype(int)
    stream, grid = parts.spec.stream, next(iter(parts.method.net.grids.values()))
    example, raw, restored = (
        coloured(evaluation, results[name][shown]) for name in ("image", "raw", "restored")
    )
    masked = grey_hidden(example, np.asarray(results["hidden"])[shown], grid)
    sheet = sheets.draw_sheet(
        sheets.reconstruction_columns(example, masked, raw, restored),
        title=f"step {step}, {title(bind(config.mask))}",
        stream=stream,
    )
    _save(workdir, f"reconstruction-{step}.png", sheet)
    errors = {name: float(v) for name, v in results.items() if name.startswith("reconstruction/")}
    return Drawn(sheet, errors)


def draw_sheets(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """Write images/<name>-<step>.png for each sheet of the method; return {name: picture}."""
    config, workdir, parts, variables, step, _ = evaluation
    if not parts.method.sheets:
        return {}
    batch = example_batch(parts, SHOWN)
    pictures = {}
    for name, draw in parts.method.sheets.items():
        columns = jit_in_order(parts, draw)(variables, batch, _randomness(config, batch))
        shown = {label: coloured(evaluation, column) for label, column in columns.items()}
        heading = f"step {step}, {name}"
        pictures[name] = sheets.draw_sheet(shown, title=heading, stream=parts.spec.stream)
        _save(workdir, f"{name}-{step}.png", pictures[name])
    return pictures


def coloured(evaluation: Evaluation, arrays: Array) -> np.ndarray:
    """Return arrays u8[B, *size, C] as RGB, of inputs the channels `log.picture_channels`."""
    spec = evaluation.parts.spec
    chosen = picture_channels(evaluation.config, spec)
    shown = np.asarray(arrays)
    if chosen and shown.shape[-1] == spec.channels:
        shown = shown[..., chosen]
    return colourise(spec.stream, shown)


def jit_replicated(parts: Assembly, function: Callable[..., Any]) -> Callable[..., Any]:
    """Jit a function, with results that every process can read."""
    return jax.jit(function, out_shardings=sharding.replicated(parts.mesh))


def jit_in_order(
    parts: Assembly, draw: Callable[..., dict[str, Any]]
) -> Callable[..., dict[str, Any]]:
    """Jit as `jit_replicated`, keys in the function's order; jit itself returns them sorted."""
    names: list[str] = []

    def values(*given: Any) -> list[Any]:
        columns = draw(*given)
        names[:] = columns
        return list(columns.values())

    traced = jit_replicated(parts, values)

    def run(*given: Any) -> dict[str, Any]:
        arrays = traced(*given)
        return dict(zip(names, arrays, strict=True))

    return run


def _randomness(config: ConfigDict, batch: dict[str, np.ndarray]) -> Randomness:
    return Randomness.of(random_key(config.seed), len(next(iter(batch.values()))))


def _save(workdir: Path, name: str, sheet: np.ndarray) -> None:
    """Write a picture; log a warning where that fails: a picture must not end a run."""
    if not processes.is_main():
        return
    try:
        files.save_png(workdir / "images" / name, sheet)
    except OSError as error:
        logger.warning("%s cannot be written (%s)", workdir / "images" / name, error)
