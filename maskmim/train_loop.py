"""The train loop: batches in, steps, and what happens every so often."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from maskmim.checkpoints.writer import Checkpoints
from maskmim.config.bricks import bind
from maskmim.config.serialize import to_json
from maskmim.data.pipeline import BadFiles, train_batches
from maskmim.data.records import Records
from maskmim.evals import method_pictures, run
from maskmim.reporting.bad_steps import BadSteps
from maskmim.reporting.goodput import Goodput
from maskmim.reporting.metrics_log import Log
from maskmim.reporting.progress import Progress
from maskmim.runtime import processes
from maskmim.runtime.signals import Asked, StopRequest
from maskmim.runtime.timeline import Timeline
from maskmim.training import sharding
from maskmim.training.build import Assembly, jitted_step
from maskmim.types import Array, State, Tree, Variables

# What the pipeline says of a batch for the host alone.
HOST_ONLY = ("record", "bad")


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
    times: Timeline
    goodput: Goodput
    bad_steps: BadSteps
    encode: Callable
    rates: np.ndarray


class Done(NamedTuple):
    """A step that the devices were given: told of one step later, so that nothing waits for it.

    waited: seconds for its batch. records: i64[b] of this process's share of it.
    """

    step: int
    metrics: Mapping[str, Array]
    waited: float
    records: np.ndarray


def fit(
    config: ConfigDict,
    workdir: Path,
    parts: Assembly,
    records: Records,
    checkpoints: Checkpoints,
    state: State,
    frozen: Tree,
    stop: StopRequest,
    goodput: Goodput,
) -> State:
    """Trains from the state's step to the end, or to the step after a stop was requested.

    Returns the state, which is saved. Raises Diverged, and DataError where the data are too few or
    too many images are bad.
    """
    start, total, times = int(state.step), parts.span.steps, stop.times
    take = jitted_step(config, parts)
    bad_files = BadFiles(
        records,
        workdir,
        max_bad_share=config.data.max_bad_share,
        decode=bind(config.data.decode),
        channels=parts.spec.channels,
        process=jax.process_index(),
    )
    position = {"fingerprint": records.fingerprint, "examples": len(records)}

    def save(step: int, state: State) -> None:
        with aside(run, "checkpoint"):
            checkpoints.save(step, state, {"step": step, **position}, to_json(config))

    with begun(config, workdir, parts, records, frozen, start, times, goodput) as run:
        if start == 0:
            show_masks(run, state)
        agreement = processes.agreement(parts.mesh)
        batches = until_asked(open_batches(config, parts, records, start), stop, times)
        # None where only the last evaluation is left to do.
        batches = itertools.islice(batches, max(total - start, 0))
        done: Done | None = None
        for step, (batch, waited) in enumerate(batches, start + 1):
            bad_files.see(batch)
            before = done
            with times.during("step" if before else "compile"):
                state, metrics = take(state, frozen, place(batch, parts))
                done = Done(step, metrics, waited, batch["record"])
                jax.block_until_ready((before or done).metrics)
                last = step == total or agreement.ask(bool(stop.requested))
            report(run, before)
            if last:
                break
            looks = due(step, run.cadence.pictures) or due(step, run.cadence.evaluation)
            if looks or due(step, run.cadence.checkpoint):
                save(step, state)
            look(run, step, state)
        if done is not None:
            save(done.step, state)
            report(run, done)
    return state


@contextlib.contextmanager
def begun(
    config: ConfigDict,
    workdir: Path,
    parts: Assembly,
    records: Records,
    frozen: Tree,
    start: int,
    times: Timeline,
    goodput: Goodput,
) -> Iterator[Run]:
    """A run with its log and progress open; its time is 'other' where nothing else is said."""
    leads, total, images = processes.leads(), parts.span.steps, config.train.batch_size
    rates = np.asarray(jax.vmap(parts.schedule)(jnp.arange(total))) * parts.peak
    bad_steps = BadSteps(
        records, workdir, most=config.train.max_bad_steps, process=jax.process_index()
    )
    times.enter("other")
    with (
        Log(workdir, step=start, enabled=leads) as log,
        Progress(total, start, images_per_step=images, enabled=leads) as progress,
    ):
        yield Run(
            config=config,
            workdir=workdir,
            parts=parts,
            frozen=frozen,
            cadence=Cadence.of(config, parts.span.per_epoch),
            log=log,
            progress=progress,
            times=times,
            goodput=goodput,
            bad_steps=bad_steps,
            encode=run.encoder(config, parts),
            rates=rates,
        )


def until_asked(
    batches: Iterator[Mapping[str, Any]], stop: StopRequest, times: Timeline
) -> Iterator[tuple[Mapping[str, Any], float]]:
    """Batches with the seconds that each was waited for.

    A single process that is asked to stop while it waits gets no more of them; several must first
    agree on the step. What goes wrong with worker processes after that, as they may have had the
    same signal, is no error.
    """
    breaks = contextlib.nullcontext if processes.several() else stop.breaks
    while True:
        began = time.perf_counter()
        try:
            with times.during("data"), breaks():
                batch = next(batches)
        except Asked:
            return
        except Exception:
            if stop.requested and not processes.several():
                return
            raise
        yield batch, time.perf_counter() - began


@contextlib.contextmanager
def aside(run: Run, phase: str) -> Iterator[None]:
    """Time for something else than steps, which is in no rate of theirs."""
    with run.times.during(phase), run.progress.pause():
        yield


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


def report(run: Run, done: Done | None) -> None:
    """Tells of a step that has ended; nothing to tell before the first.

    Raises Diverged where too many steps in a row were not finite.
    """
    if done is None:
        return
    step, metrics, waited, records = done
    values = {name: float(value) for name, value in metrics.items()}
    rate = float(run.rates[step - 1])
    run.progress.update(step, loss=values["loss"], lr=rate, waited=waited)
    if step == 1 or due(step, run.cadence.log) or step == run.parts.span.steps:
        run.log.write(step, {**values, "lr": rate, **run.progress.figures()})
    run.goodput.reached(step)
    if note := run.bad_steps.see(step, values, records):
        run.progress.note(note)


def show_masks(run: Run, state: State) -> None:
    """Draws the sampler's masks before the first step, where the method has a mask."""
    if "mask" not in run.parts.method.apply:
        return
    variables = Variables(state.params, state.extra, run.frozen)
    with aside(run, "pictures"):
        sheet = method_pictures.draw_masks(run.config, run.workdir, run.parts, variables)
        run.log.picture(0, "masks", sheet)


def draw(run: Run, step: int, variables: Variables) -> None:
    """Draws what the method can show of itself."""
    place = run.config, run.workdir, run.parts, variables, step
    if "reconstruct" in run.parts.method.apply:
        drawn = method_pictures.draw_reconstruction(*place)
        run.log.write(step, drawn.errors)
        run.log.picture(step, "reconstruction", drawn.sheet)
    for name, sheet in method_pictures.draw_sheets(*place).items():
        run.log.picture(step, name, sheet)


def look(run: Run, step: int, state: State) -> None:
    """Pictures and probes that are due during training."""
    variables = Variables(state.params, state.extra, run.frozen)
    if due(step, run.cadence.pictures):
        with aside(run, "pictures"):
            draw(run, step, variables)
    if due(step, run.cadence.evaluation) and run.config.evals.test:
        with aside(run, "evaluation"):
            found = run.during(run.config, run.parts, run.encode, variables)
            run.log.write(step, found)
            run.progress.note(f"step {step}: {run.one_line(found)}")
