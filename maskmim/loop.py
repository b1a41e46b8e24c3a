"""The train loop: batches in, steps, and what happens every so often."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from maskmim import evaluate, exits, portraits, sharding
from maskmim.assemble import Assembly, jitted_step
from maskmim.bricks import bind
from maskmim.checkpoint import Checkpoints
from maskmim.configuration import to_json
from maskmim.data.pipeline import BadFiles, train_batches
from maskmim.data.records import Records
from maskmim.metrics import Log
from maskmim.progress import Progress
from maskmim.step import State
from maskmim.stopping import StopRequest
from maskmim.types import Array, Tree, Variables

# What the pipeline says of a batch for the host alone.
HOST_ONLY = ("record", "bad")


class Diverged(exits.UserError):
    """Loss or gradient were not finite too many times in a row."""

    exit_code = exits.DIVERGED


class Cadence(NamedTuple):
    """Every how many steps something happens; 0 for never."""

    log: int
    checkpoint: int
    pictures: int
    evaluation: int

    @classmethod
    def of(cls, config: ConfigDict, per_epoch: float) -> Cadence:
        """From the config's steps and (fractional) epochs."""

        def steps(epochs: float) -> int:
            return max(1, round(epochs * per_epoch)) if epochs else 0

        return cls(
            max(1, config.log.every_steps),
            steps(config.checkpoint.every_epochs),
            steps(config.log.pictures_every_epochs),
            steps(config.evals.every_epochs),
        )


def fit(
    config: ConfigDict,
    workdir: Path,
    parts: Assembly,
    records: Records,
    checkpoints: Checkpoints,
    state: State,
    frozen: Tree,
    stop: StopRequest,
) -> State:
    """Trains from the state's step to the end, or to the step after a stop was requested.

    Returns the state, which is saved. Raises Diverged, and DataError for too many bad images.
    """
    start, total = int(state.step), parts.span.steps
    cadence = Cadence.of(config, parts.span.per_epoch)
    step_function = jitted_step(config, parts)
    encode = evaluate.encoder(config, parts)
    batches = open_batches(config, parts, records, start)
    bad_files = BadFiles(records, workdir, max_bad_share=config.data.max_bad_share)
    position = {"fingerprint": records.fingerprint, "examples": len(records)}
    batch_size = config.train.batch_size
    with (
        Log(workdir, step=start, enabled=jax.process_index() == 0) as log,
        Progress(total, start, images_per_step=batch_size) as progress,
    ):
        metrics: dict[str, Array] = {}
        for step in range(start + 1, total + 1):
            before = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - before
            bad_files.see(batch)
            placed = place(batch, parts)
            previous = metrics
            state, metrics = step_function(state, frozen, placed)
            follow(config, parts, log, progress, step - 1, previous, waited, cadence)
            last = step == total or bool(stop.requested)
            if last or due(step, cadence.checkpoint):
                with progress.pause():
                    checkpoints.save(step, state, {"step": step, **position}, to_json(config))
            variables = Variables(state.params, state.extra, frozen)
            if due(step, cadence.pictures) and not last and "reconstruct" in parts.method.apply:
                with progress.pause():
                    portraits.draw_reconstruction(config, workdir, parts, variables, step)
            if due(step, cadence.evaluation) and not last:
                with progress.pause():
                    found = evaluate.during(config, parts, encode, variables)
                    log.write(step, found)
                    progress.note(f"step {step}: " + evaluate.one_line(found))
            if last:
                follow(config, parts, log, progress, step, metrics, 0.0, cadence)
                break
    return state


def due(step: int, every: int) -> bool:
    """Whether something that happens every so many steps happens now."""
    return every > 0 and step % every == 0


def open_batches(
    config: ConfigDict, parts: Assembly, records: Records, start: int
) -> Iterator[Mapping[str, Any]]:
    """This process's share of the batches from batch number `start` on."""
    return iter(
        train_batches(
            records,
            size=parts.spec.size,
            channels=parts.spec.channels,
            batch_size=config.train.batch_size,
            seed=config.seed,
            augment=bind(config.data.augment),
            start_batch=start,
            workers=config.data.workers,
            threads=config.data.threads,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
    )


def place(batch: Mapping[str, Any], parts: Assembly) -> dict[str, Any]:
    """A batch on the mesh, without what only the host wants."""
    wanted = {name: value for name, value in batch.items() if name not in HOST_ONLY}
    return jax.tree.map(lambda array: sharding.put(array, parts.mesh), wanted)


def follow(
    config: ConfigDict,
    parts: Assembly,
    log: Log,
    progress: Progress,
    step: int,
    metrics: Mapping[str, Array],
    waited: float,
    cadence: Cadence,
) -> None:
    """Reports a step whose metrics are (nearly) there: read one step late, nothing has to wait."""
    if not metrics:
        return
    values = {name: float(value) for name, value in metrics.items()}
    rate = float(parts.schedule(step - 1)) * parts.peak
    progress.update(step, loss=values["loss"], lr=rate, waited=waited)
    if due(step, cadence.log) or step == parts.span.steps:
        log.write(step, {**values, "lr": rate, **progress.figures()})
    if values["bad_steps"]:
        progress.note(f"step {step}: loss or gradient not finite, update skipped")
    if values["bad_steps"] >= config.train.max_bad_steps:
        raise Diverged(
            f"loss or gradient not finite in {int(values['bad_steps'])} steps in a row, up to step "
            f"{step}: lower optim.lr, or use dtype float32; the newest checkpoint is older"
        )
