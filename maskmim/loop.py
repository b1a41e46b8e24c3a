"""The train loop: batches in, steps, and what happens every so often."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from maskmim import evaluate, exits, hosts, portraits, sharding
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


class Run(NamedTuple):
    """What stays the same during a training; encode is `evaluate.encoder`, compiled once.

    rates: f32[steps] the learning rate of each step, known beforehand: asking the schedule in the
    loop would queue behind the running step, and wait for it.
    """

    config: ConfigDict
    workdir: Path
    parts: Assembly
    frozen: Tree
    cadence: Cadence
    log: Log
    progress: Progress
    encode: Callable
    rates: np.ndarray


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

    Returns the state, which is saved. Raises Diverged, and DataError where the data are too few or
    too many images are bad.
    """
    start, total = int(state.step), parts.span.steps
    cadence = Cadence.of(config, parts.span.per_epoch)
    take = jitted_step(config, parts)
    batches = open_batches(config, parts, records, start)
    bad_files = BadFiles(
        records,
        workdir,
        max_bad_share=config.data.max_bad_share,
        decode=bind(config.data.decode),
        channels=parts.spec.channels,
        process=jax.process_index(),
    )
    position = {"fingerprint": records.fingerprint, "examples": len(records)}
    leads = hosts.leads()
    with (
        Log(workdir, step=start, enabled=leads) as log,
        Progress(total, start, images_per_step=config.train.batch_size, enabled=leads) as progress,
    ):
        encode = evaluate.encoder(config, parts)
        rates = np.asarray(jax.vmap(parts.schedule)(jnp.arange(total))) * parts.peak
        run = Run(config, workdir, parts, frozen, cadence, log, progress, encode, rates)
        if start == 0:
            show_masks(run, state)
        metrics: dict[str, Array] = {}
        agreement = hosts.agreement(parts.mesh)
        for step in range(start + 1, total + 1):
            began = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - began
            bad_files.see(batch)
            previous = metrics
            state, metrics = take(state, frozen, place(batch, parts))
            report(run, step - 1, previous, waited)
            last = step == total or agreement.ask(bool(stop.requested))
            if last or due(step, cadence.checkpoint):
                with progress.pause():
                    checkpoints.save(step, state, {"step": step, **position}, to_json(config))
            if last:
                report(run, step, metrics, 0.0)
                break
            look(run, step, state)
    return state


def due(step: int, every: int) -> bool:
    """Whether something that happens every so many steps happens now."""
    return every > 0 and step % every == 0


def open_batches(
    config: ConfigDict, parts: Assembly, records: Records, start: int
) -> Iterator[Mapping[str, Any]]:
    """This process's share of the batches from batch number `start` on."""
    return train_batches(
        records,
        spec=parts.spec,
        batch_size=config.train.batch_size,
        seed=config.seed,
        decode=bind(config.data.decode),
        augment=bind(config.data.augment),
        start_batch=start,
        workers=config.data.workers,
        threads=config.data.threads,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def place(batch: Mapping[str, Any], parts: Assembly) -> dict[str, Any]:
    """A batch on the mesh, without what only the host wants."""
    wanted = {name: value for name, value in batch.items() if name not in HOST_ONLY}
    return jax.tree.map(lambda array: sharding.put(array, parts.mesh), wanted)


def report(run: Run, step: int, metrics: Mapping[str, Array], waited: float) -> None:
    """Tells of a step; asked for one step later, so that nothing has to wait for the device.

    Raises Diverged where too many steps in a row were not finite.
    """
    if not metrics:
        return
    values = {name: float(value) for name, value in metrics.items()}
    rate = float(run.rates[step - 1])
    run.progress.update(step, loss=values["loss"], lr=rate, waited=waited)
    if step == 1 or due(step, run.cadence.log) or step == run.parts.span.steps:
        run.log.write(step, {**values, "lr": rate, **run.progress.figures()})
    if values["bad_steps"]:
        run.progress.note(f"step {step}: loss or gradient not finite, update skipped")
    if values["bad_steps"] >= run.config.train.max_bad_steps:
        raise Diverged(
            f"loss or gradient not finite in {int(values['bad_steps'])} steps in a row, up to step "
            f"{step}: lower optim.lr, or use dtype float32; the newest checkpoint is older"
        )


def show_masks(run: Run, state: State) -> None:
    """Draws the sampler's masks before the first step, where the method has a mask."""
    if "mask" not in run.parts.method.apply:
        return
    variables = Variables(state.params, state.extra, run.frozen)
    sheet = portraits.draw_masks(run.config, run.workdir, run.parts, variables)
    run.log.picture(0, "masks", sheet)


def draw(run: Run, step: int, variables: Variables) -> None:
    """Draws what the method can show of itself."""
    place = run.config, run.workdir, run.parts, variables, step
    if "reconstruct" in run.parts.method.apply:
        drawn = portraits.draw_reconstruction(*place)
        run.log.write(step, drawn.errors)
        run.log.picture(step, "reconstruction", drawn.sheet)
    for name, sheet in portraits.draw_sheets(*place).items():
        run.log.picture(step, name, sheet)


def look(run: Run, step: int, state: State) -> None:
    """Pictures and probes that are due during training."""
    variables = Variables(state.params, state.extra, run.frozen)
    if due(step, run.cadence.pictures):
        with run.progress.pause():
            draw(run, step, variables)
    if due(step, run.cadence.evaluation) and run.config.evals.test:
        with run.progress.pause():
            found = evaluate.during(run.config, run.parts, run.encode, variables)
            run.log.write(step, found)
            run.progress.note(f"step {step}: {evaluate.one_line(found)}")
