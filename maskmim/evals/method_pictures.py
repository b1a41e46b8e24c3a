"""Pictures of a method at work: its masks and its reconstructions on images of the data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from maskmim import files
from maskmim.config.bricks import bind
from maskmim.config.describe import title
from maskmim.data.batch_arrays import output_shapes
from maskmim.data.pipeline import eval_batches
from maskmim.data.records import Records
from maskmim.evals.drawable import drawable_streams, restorable_streams
from maskmim.evals.evaluation import Evaluation
from maskmim.evals.reconstruction import Reconstruction, reconstruction
from maskmim.reporting import sheets
from maskmim.reporting.streams import as_rgb
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


def example_batch(parts: Assembly, count: int) -> dict[str, Any]:
    """Return `count` examples spread over the test data, or the training data without test data.

    The batch has every array that the transform of evaluation makes, and those that the training
    augmentation alone makes, such as views: drawn once for each example. Of the labels it has the
    sets that the method learns from and the data have.
    """
    source = parts.evals.test or parts.data.train
    records = Spread(source(), count)
    # As many examples for each device; a remainder is left out.
    devices = parts.mesh.size
    size = max(devices, len(records) // devices * devices)
    read = partial(
        eval_batches, records, spec=parts.spec, batch_size=size, decode=parts.evals.decode
    )
    arrays: dict[str, Any] = {}
    for transform in (parts.evals.transform, parts.data.augment):
        if missing := [name for name in output_shapes(transform, parts.spec) if name not in arrays]:
            batch = next(iter(read(transform=transform)))
            arrays |= {name: batch[name] for name in missing}
    labels = {name: each for name, each in batch["label"].items() if name in parts.spec.labels}
    return arrays | ({"label": labels} if labels else {})


class Drawn(NamedTuple):
    """A sheet of reconstructions u8[H, W, 3] and how far off they are, over more images.

    sheet: None where no stream that is predicted can be drawn.
    """

    sheet: np.ndarray | None
    errors: dict[str, float]


def draw_masks(evaluation: Evaluation) -> np.ndarray:
    """Write images/masks.png, what the sampler hides of some examples, and return the picture.

    Draws the streams that `drawable.can_draw_masks` finds; there must be one.
    """
    config, _, parts, variables, *_ = evaluation
    batch = example_batch(parts, SHOWN)
    masked = jit_replicated(parts, _masked_streams(parts))(
        variables, batch, _randomness(config, batch)
    )
    pictures, hidden = {}, {}
    for name, stream in drawable_streams(parts).items():
        if stream.shows_masks:
            hidden[name] = np.asarray(masked[name]["hidden"], bool)
            arrays = chosen_channels(evaluation, name, masked[name]["image"])
            values = stream.hidden_values(hidden[name])
            pictures[name] = stream.modality.draw(arrays), stream.modality.draw(arrays, values)
    sheet = sheets.draw_mask_sheet(pictures, hidden, title=title(bind(config.mask)))
    _save(evaluation, "masks.png", sheet)
    return sheet


def _masked_streams(parts: Assembly) -> Callable[..., dict[str, dict[str, Array]]]:
    """Return (variables, batch, randomness) -> {stream: {'image': its arrays, 'hidden'}}."""
    streams = drawable_streams(parts)

    def draw(*given: Any) -> dict[str, dict[str, Array]]:
        outputs = parts.method.apply["mask"](*given)
        inputs, hidden = outputs["inputs"], outputs["mask"].hidden
        by_name = inputs if isinstance(inputs, Mapping) else {parts.spec.stream: inputs}
        return {
            name: {
                "image": stream.net.display(by_name[name]),
                "hidden": hidden[:, stream.tokens],
            }
            for name, stream in streams.items()
        }

    return draw


def draw_reconstruction(evaluation: Evaluation) -> Drawn:
    """Write images/reconstruction-<step>.png of a few examples, and measure more of them."""
    config, _, parts, variables, step, *_ = evaluation
    batch = example_batch(parts, MEASURED)
    found = reconstruction(
        parts.method,
        restorable_streams(parts),
        variables,
        batch,
        _randomness(config, batch),
        classes={name: spec.classes for name, spec in parts.spec.arrays.items()},
        place=sharding.replicated(parts.mesh),
    )
    errors = {name: float(value) for name, value in found.errors.items()}
    streams = [name for name in drawable_streams(parts) if name in found.pictures]
    if not streams:
        return Drawn(None, errors)
    columns = {}
    for name in streams:
        for label, pictures in _reconstruction_columns(evaluation, name, found).items():
            columns[sheets.label_of(name, label, streams)] = pictures
    sheet = sheets.draw_sheet(columns, title=f"step {step}, {title(bind(config.mask))}")
    _save(evaluation, f"reconstruction-{step}.png", sheet)
    return Drawn(sheet, errors)


def _reconstruction_columns(
    evaluation: Evaluation, name: str, found: Reconstruction
) -> dict[str, np.ndarray]:
    """Return the columns of a stream, of SHOWN examples spread over those measured."""
    stream, results = drawable_streams(evaluation.parts)[name], found.pictures[name]
    count = len(results["hidden"])
    shown = np.linspace(0, count - 1, min(SHOWN, count)).round().astype(int)

    def draw(key: str, hidden: Array) -> np.ndarray:
        values = stream.hidden_values(np.asarray(hidden)[shown])
        return stream.modality.draw(chosen_channels(evaluation, name, results[key][shown]), values)

    hidden, unknown, nothing = results["hidden"], results["unknown"], results["hidden"] & False
    # Where tokens do not divide the size, only the network knows which values a hidden one covers.
    masked = draw("image" if stream.shows_masks else "masked", hidden)
    example, raw, restored = draw("image", nothing), draw("raw", unknown), draw("restored", unknown)
    return sheets.reconstruction_columns(example, masked, raw, restored)


def draw_sheets(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """Write images/<name>-<step>.png for each sheet of the method; return {name: picture}.

    Draws none where no stream can be drawn, see `drawable.drawable_streams`.
    """
    config, _, parts, variables, step, *_ = evaluation
    if not parts.method.sheets or not drawable_streams(parts):
        return {}
    batch = example_batch(parts, SHOWN)
    pictures = {}
    for name, draw in parts.method.sheets.items():
        columns = jit_in_order(parts, draw)(variables, batch, _randomness(config, batch))
        shown = {label: draw_column(evaluation, column) for label, column in columns.items()}
        pictures[name] = sheets.draw_sheet(shown, title=f"step {step}, {name}")
        _save(evaluation, f"{name}-{step}.png", pictures[name])
    return pictures


def draw_column(evaluation: Evaluation, arrays: Array) -> np.ndarray:
    """Return a column of a method's sheet as RGB: as pictures of the stream of its size.

    Of several streams of one size, or where none has it, as of the first with as many axes; others
    are pictures already.
    """
    shown, streams = np.asarray(arrays), drawable_streams(evaluation.parts)
    alike = [name for name, each in streams.items() if len(each.spec.size) == shown.ndim - 2]
    alike.sort(key=lambda name: streams[name].spec.size != shown.shape[1:-1])
    if not alike:
        return as_rgb(shown)
    return streams[alike[0]].modality.draw(chosen_channels(evaluation, alike[0], shown))


def chosen_channels(evaluation: Evaluation, stream: str, arrays: Array) -> np.ndarray:
    """Return arrays u8[B, *size, C], of the main stream's inputs `log.picture_channels` of them."""
    spec = evaluation.parts.spec
    chosen = picture_channels(evaluation.config, spec)
    shown = np.asarray(arrays)
    if chosen and stream == spec.stream and shown.shape[-1] == spec.channels:
        shown = shown[..., chosen]
    return shown


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


def _save(evaluation: Evaluation, name: str, sheet: np.ndarray) -> None:
    """Write a picture; log a warning where that fails: a picture must not end a run."""
    if not processes.is_main():
        return
    place = evaluation.workdir / evaluation.pictures / name
    try:
        files.save_png(place, sheet)
    except OSError as error:
        logger.warning("%s cannot be written (%s)", place, error)
