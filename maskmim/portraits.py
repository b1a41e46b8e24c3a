"""Pictures of a method at work: its masks and its reconstructions on images of the data."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from maskmim import pictures
from maskmim.assemble import Assembly
from maskmim.brick_facts import title
from maskmim.bricks import bind
from maskmim.data.pipeline import eval_batches
from maskmim.data.records import Records
from maskmim.evals.reconstruction import reconstruction
from maskmim.types import Randomness, Variables

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
        size=parts.spec.size,
        channels=parts.spec.channels,
        batch_size=size,
        transform=bind(config.evals.transform),
    )
    return {"image": next(iter(batches))["image"]}


class Drawn(NamedTuple):
    """A sheet of reconstructions u8[H, W, 3] and how far off they are, over more images."""

    sheet: np.ndarray
    errors: dict[str, float]


def draw_masks(
    config: ConfigDict, workdir: Path, parts: Assembly, variables: Variables
) -> np.ndarray:
    """Writes images/masks.png, what the sampler hides of some images, and returns the picture."""
    batch = images_of(config, parts, SHOWN)
    randomness = Randomness.of(jax.random.key(config.seed), len(batch["image"]))
    mask = jax.jit(parts.method.apply["mask"])(variables, batch, randomness)["mask"]
    grid = next(iter(parts.method.net.grids.values()))
    sheet = pictures.mask_sheet(
        batch["image"], np.asarray(mask.hidden), grid, title=title(bind(config.mask))
    )
    if jax.process_index() == 0:
        pictures.save_png(workdir / "images" / "masks.png", sheet)
    return sheet


def draw_reconstruction(
    config: ConfigDict, workdir: Path, parts: Assembly, variables: Variables, step: int
) -> Drawn:
    """Writes images/reconstruction-<step>.png of a few images and measures more of them."""
    batch = images_of(config, parts, MEASURED)
    count = len(batch["image"])
    randomness = Randomness.of(jax.random.key(config.seed), count)
    found = reconstruction(parts.method, variables, batch, randomness)
    shown = np.linspace(0, count - 1, min(SHOWN, count)).round().astype(int)
    sheet = pictures.reconstruction_sheet(
        *(np.asarray(found[name])[shown] for name in ("image", "masked", "raw", "restored")),
        title=f"step {step}, {title(bind(config.mask))}",
    )
    if jax.process_index() == 0:
        pictures.save_png(workdir / "images" / f"reconstruction-{step}.png", sheet)
    errors = {name: float(v) for name, v in found.items() if name.startswith("reconstruction/")}
    return Drawn(sheet, errors)
