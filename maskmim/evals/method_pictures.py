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
from maskmim.evals.reconstruction import reconstruction
from maskmim.reporting import sheets
from maskmim.reporting.streams import cover, look
from maskmim.runtime import processes
from maskmim.training import sharding
from maskmim.training.build import Assembly
from maskmim.types import Randomness, Variables

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
        """The name of the record."""
        return self.records.name(int(self.places[index]))


def images_of(config: ConfigDict, parts: Assembly, count: int) -> dict[str, np.ndarray]:
    """`count` images spread over the test data (the training data where there are none), ready."""
    source = config.evals.test or config.data.train
    records = Spread(bind(source)(), count)
    # As many images for each device; a remainder is left out.
    devices = parts.mesh.size
    size = max(devices, len(records) // devices * devices)
    batches = eval_batches(
        records,
        spec=parts.spec,
        batch_size=size,
        decode=bind(config.evals.decode),
        transform=bind(config.evals.transform),
    )
    return {parts.spec.stream: next(iter(batches))[parts.spec.stream]}


class Drawn(NamedTuple):
    """A sheet of reconstructions u8[H, W, 3] and how far off they are, over more images."""

    sheet: np.ndarray
    errors: dict[str, float]


def draw_masks(
    config: ConfigDict, workdir: Path, parts: Assembly, variables: Variables
) -> np.ndarray:
    """Writes images/masks.png, what the sampler hides of some examples, and returns the picture."""
    batch = images_of(config, parts, SHOWN)
    randomness = _randomness(config, batch)
    found = everywhere(parts, parts.method.apply["mask"])(variables, batch, randomness)
    net, stream = parts.method.net, parts.spec.stream
    sheet = sheets.mask_sheet(
        np.asarray(net.display(found["inputs"])),
        np.asarray(found["mask"].hidden),
        next(iter(net.grids.values())),
        title=title(bind(config.mask)),
        stream=stream,
    )
    _save(workdir, "masks.png", sheet)
    return sheet


def draw_reconstruction(
    config: ConfigDict, workdir: Path, parts: Assembly, variables: Variables, step: int
) -> Drawn:
    """Writes images/reconstruction-<step>.png of a few examples and measures more of them."""
    batch = images_of(config, parts, MEASURED)
    place = sharding.replicated(parts.mesh)
    found = reconstruction(parts.method, variables, batch, _randomness(config, batch), place=place)
    count = len(next(iter(batch.values())))
    shown = np.linspace(0, count - 1, min(SHOWN, count)).round().astype(int)
    stream, grid = parts.spec.stream, next(iter(parts.method.net.grids.values()))
    example, raw, restored = (
        look(stream, np.asarray(found[name])[shown]) for name in ("image", "raw", "restored")
    )
    masked = cover(example, np.asarray(found["hidden"])[shown], grid)
    sheet = sheets.sheet(
        sheets.reconstruction_columns(example, masked, raw, restored),
        title=f"step {step}, {title(bind(config.mask))}",
        stream=stream,
    )
    _save(workdir, f"reconstruction-{step}.png", sheet)
    errors = {name: float(v) for name, v in found.items() if name.startswith("reconstruction/")}
    return Drawn(sheet, errors)


def draw_sheets(
    config: ConfigDict, workdir: Path, parts: Assembly, variables: Variables, step: int
) -> dict[str, np.ndarray]:
    """Writes images/<name>-<step>.png for each of the method's own sheets; {name: picture}."""
    if not parts.method.sheets:
        return {}
    batch = images_of(config, parts, SHOWN)
    drawn = {}
    for name, draw in parts.method.sheets.items():
        columns = in_order(parts, draw)(variables, batch, _randomness(config, batch))
        shown = {label: look(parts.spec.stream, np.asarray(c)) for label, c in columns.items()}
        heading = f"step {step}, {name}"
        drawn[name] = sheets.sheet(shown, title=heading, stream=parts.spec.stream)
        _save(workdir, f"{name}-{step}.png", drawn[name])
    return drawn


def everywhere(parts: Assembly, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function under jit with results that every process of several can read."""
    return jax.jit(function, out_shardings=sharding.replicated(parts.mesh))


def in_order(parts: Assembly, draw: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """`everywhere` with results in the function's own order: jit returns keys sorted."""
    names: list[str] = []

    def values(*given: Any) -> list[Any]:
        found = draw(*given)
        names[:] = found
        return list(found.values())

    traced = everywhere(parts, values)

    def run(*given: Any) -> dict[str, Any]:
        made = traced(*given)
        return dict(zip(names, made, strict=True))

    return run


def _randomness(config: ConfigDict, batch: dict[str, np.ndarray]) -> Randomness:
    return Randomness.of(jax.random.key(config.seed), len(next(iter(batch.values()))))


def _save(workdir: Path, name: str, sheet: np.ndarray) -> None:
    """Writes a picture; where that fails (a full disk) it is warned of, as none is worth a run."""
    if not processes.leads():
        return
    try:
        files.save_png(workdir / "images" / name, sheet)
    except OSError as error:
        logger.warning("%s cannot be written (%s)", workdir / "images" / name, error)
