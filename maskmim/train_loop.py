"""The train loop: batches in, steps, and what happens every so many steps."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from maskmim.checkpoints.writer import Checkpoints
from maskmim.config.serialize import to_json
from maskmim.data.pipeline import BadFiles, train_batches
from maskmim.data.records import Records
from maskmim.evals import method_pictures
from maskmim.evals.drawable import can_draw_masks, restorable_streams
from maskmim.evals.evaluation import Evaluation, make_encoder
from maskmim.evals.failures import PICTURES, noted
from maskmim.evals.run import evaluate_during_training, first_values, with_monitors
from maskmim.reporting.bad_steps import BadSteps
from maskmim.reporting.goodput import Goodput
from maskmim.reporting.metrics_log import Log, read_metrics
from maskmim.reporting.profiler import StepProfiler
from maskmim.reporting.progress import Progress
from maskmim.reporting.trackers import Trackers
from maskmim.runtime import processes
from maskmim.runtime.signals import StopRequested, StopSignals
from maskmim.training import sharding
from maskmim.training.build import Assembly, jitted_step
from maskmim.types import Array, State, Tree, Variables

# Entries of a batch that stay on the host, beside label sets that the method does not learn from.
HOST_ONLY = ("label", "record", "bad", "reason")


class Cadence(NamedTuple):
    """How many steps lie between two events of a kind; 0 for never."""

    log: int
    checkpoint: int
    pictures: int
    evaluation: int

    @classmethod
    def of(cls, config: ConfigDict, per_epoch: float) -> Cadence:
        """Return the cadence of a config, whose epochs may be fractional."""

        def steps(epochs: float) -> int:
            return max(1, round(epochs * per_epoch)) if epochs else 0

        return cls(
            max(1, config.log.every_steps),
            steps(config.checkpoint.every_epochs),
            steps(config.log.pictures_every_epochs),
            steps(config.evals.every_epochs),
        )


class Run(NamedTuple):
    """What a training is made of, built by the command: `fit` trains it.

    records: the training data. frozen: see Variables. stop: signals that ask for the end.
    origin:  what every checkpoint records beside the step, see `checkpoints.continuation`.
    trackers: started already; they get what the log gets.
    profile: steps to trace, see `reporting.profiler`.
    """

    config: ConfigDict
    workdir: Path
    parts: Assembly
    records: Records
    checkpoints: Checkpoints
    frozen: Tree
    origin: Mapping[str, Any]
    stop: StopSignals
    goodput: Goodput
    trackers: Trackers
    profile: int = 0


class Reporters(NamedTuple):
    """What `fit` opens for a run to be told of its steps.

    rates: f32[steps] the learning rate of each step, computed in advance: asking the schedule in
           the loop would queue behind the running step, and wait for it.
    first: the first value of each metric, of the run's first evaluation; a dict to add to.
    """

    cadence: Cadence
    log: Log
    progress: Progress
    bad_steps: BadSteps
    bad_files: BadFiles
    profiler: StepProfiler
    encode: Callable
    rates: np.ndarray
    first: dict[str, float]


class FinishedStep(NamedTuple):
    """A step that the devices work on, reported one step later, so that nothing waits for it.

    waited:  seconds that its batch was waited for.
    records: i64[b] indices of this process's share of the batch.
    """

    step: int
    metrics: Mapping[str, Array]
    waited: float
    records: np.ndarray


def fit(run: Run, state: State) -> State:
    """Train from the state's step to the end, or to the step after a stop was requested.

    Returns the state, which is saved. Raises Diverged, and DataError where the data are too few or
    too many images are bad.
    """
    start, total, timeline = int(state.step), run.parts.span.steps, run.stop.timeline
    train_step = jitted_step(run.config, run.parts)
    with open_reporters(run, start) as reporters:
        if start == 0:
            draw_initial_masks(run, reporters, state)
            evaluate_first(run, reporters, state)
        stop_vote = processes.make_stop_vote(run.parts.mesh)
        batches = open_batches(run.config, run.parts, run.records, start)
        batches = until_stopped(batches, run.stop)
        # No batch where only the last evaluation is left to do.
        batches = itertools.islice(batches, max(total - start, 0))
        current: FinishedStep | None = None
        for step, (batch, waited) in enumerate(batches, start + 1):
            reporters.bad_files.see(batch)
            previous = current
            with timeline.during("step" if previous else "compile"), reporters.profiler.step(step):
                state, metrics = train_step(state, run.frozen, place_on_mesh(batch, run.parts))
                current = FinishedStep(step, metrics, waited, batch["record"])
                jax.block_until_ready((previous or current).metrics)
                last = step == total or stop_vote.poll(bool(run.stop.requested))
            report_step(run, reporters, previous)
            if note := reporters.profiler.after(step, metrics):
                reporters.progress.note(note)
            if last:
                break
            if due_now(reporters.cadence, step):
                save(run, reporters, step, state)
            draw_and_evaluate(run, reporters, step, state)
        if current is not None:
            save(run, reporters, current.step, state)
            report_step(run, reporters, current)
    return state


@contextlib.contextmanager
def open_reporters(run: Run, start: int) -> Iterator[Reporters]:
    """Open the log and the progress of a run; time counts as 'other' where no phase is entered."""
    config, parts, total = run.config, run.parts, run.parts.span.steps
    is_main, process = processes.is_main(), jax.process_index()
    images = config.train.batch_size
    bad_files = BadFiles(
        run.records,
        run.workdir,
        max_bad_share=config.data.max_bad_share,
        process=process,
    )
    run.stop.timeline.enter("other")
    with (
        Log(run.workdir, step=start, enabled=is_main, trackers=run.trackers) as log,
        Progress(total, start, images_per_step=images, enabled=is_main) as progress,
        StepProfiler(
            run.workdir / "profile", steps=run.profile, first=start + 1, last=total
        ) as profiler,
    ):
        if profiler.problem:
            progress.note(profiler.problem)
        yield Reporters(
            cadence=Cadence.of(config, parts.span.per_epoch),
            log=log,
            progress=progress,
            bad_steps=BadSteps(
                run.records, run.workdir, most=config.train.max_bad_steps, process=process
            ),
            bad_files=bad_files,
            profiler=profiler,
            encode=make_encoder(config, parts),
            rates=np.asarray(jax.vmap(parts.schedule)(jnp.arange(total))) * parts.peak,
            first=first_values(read_metrics(log.path)) if start else {},
        )


def until_stopped(
    batches: Iterator[Mapping[str, Any]], stop: StopSignals
) -> Iterator[tuple[Mapping[str, Any], float]]:
    """Yield batches with the seconds that each was waited for, until a stop is requested.

    A single process that is asked to stop while it waits gets no more batches; several processes
    must first agree on the step. Errors of worker processes after the request are ignored, as the
    workers may have had the same signal.
    """
    breaks = contextlib.nullcontext if processes.is_distributed() else stop.raise_on_stop
    while True:
        began = time.perf_counter()
        try:
            with stop.timeline.during("data"), breaks():
                batch = next(batches)
        except StopRequested:
            return
        except Exception:
            if stop.requested and not processes.is_distributed():
                return
            raise
        yield batch, time.perf_counter() - began


def open_batches(
    config: ConfigDict, parts: Assembly, records: Records, start: int
) -> Iterator[Mapping[str, Any]]:
    """Return this process's share of the batches, from batch number `start` on."""
    return train_batches(
        records,
        spec=parts.spec,
        batch_size=config.train.batch_size,
        seed=config.seed,
        decode=parts.data.decode,
        augment=parts.data.augment,
        repeats=config.data.repeats,
        start_batch=start,
        workers=config.data.workers,
        threads=config.data.threads,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def place_on_mesh(batch: Mapping[str, Any], parts: Assembly) -> dict[str, Any]:
    """Put a batch on the mesh, without the arrays that only the host reads.

    Of the labels only the sets of spec.labels, so that the step is the program that a plan counts.
    """
    arrays = {name: value for name, value in batch.items() if name not in HOST_ONLY}
    if parts.spec.labels:
        arrays["label"] = {name: batch["label"][name] for name in parts.spec.labels}
    return jax.tree.map(lambda array: sharding.put(array, parts.mesh), arrays)


def save(run: Run, reporters: Reporters, step: int, state: State) -> None:
    """Start saving a checkpoint of a step, with the position in the data and the run's origin."""
    with paused(run, reporters, "checkpoint"):
        data = {"step": step, **run.origin}
        run.checkpoints.save(step, state, data, to_json(run.config))


@contextlib.contextmanager
def paused(run: Run, reporters: Reporters, phase: str) -> Iterator[None]:
    """Leave the time inside out of the speed of steps; it counts for another phase."""
    with run.stop.timeline.during(phase), reporters.progress.pause():
        yield


def is_due(step: int, every: int) -> bool:
    """Return whether an event that happens every `every` steps happens now; never for 0."""
    return every > 0 and step % every == 0


def due_now(cadence: Cadence, step: int) -> bool:
    """Return whether a checkpoint is due: by itself, or before pictures or an evaluation."""
    return any(is_due(step, every) for every in cadence._replace(log=0))


def report_step(run: Run, reporters: Reporters, finished: FinishedStep | None) -> None:
    """Log a step that has ended and show its progress; there is none before the first.

    Raises Diverged where too many steps in a row were not finite.
    """
    if finished is None:
        return
    step, metrics, waited, records = finished
    values = {name: float(value) for name, value in metrics.items()}
    rate = float(reporters.rates[step - 1])
    reporters.progress.update(step, loss=values["loss"], lr=rate, waited=waited)
    if step == 1 or is_due(step, reporters.cadence.log) or step == run.parts.span.steps:
        reporters.log.write(step, {**values, "lr": rate, **reporters.progress.figures()})
    run.goodput.reached(step)
    if note := reporters.bad_steps.see(step, values, records):
        reporters.progress.note(note)


def evaluation_of(run: Run, reporters: Reporters, step: int, state: State) -> Evaluation:
    """Return what pictures and probes of a state are made of."""
    variables = Variables(state.params, state.extra, run.frozen)
    return Evaluation(run.config, run.workdir, run.parts, variables, step, reporters.encode)


def draw_initial_masks(run: Run, reporters: Reporters, state: State) -> None:
    """Draw the sampler's masks before the first step, where they can be shown."""
    if not can_draw_masks(run.parts):
        return
    with paused(run, reporters, "pictures"):
        sheet = method_pictures.draw_masks(evaluation_of(run, reporters, 0, state))
        reporters.log.picture(0, "masks", sheet)


def draw_and_evaluate(run: Run, reporters: Reporters, step: int, state: State) -> None:
    """Draw the pictures and run the evaluations that are due during training."""
    evaluation, failed = evaluation_of(run, reporters, step, state), {}
    if is_due(step, reporters.cadence.pictures):
        with paused(run, reporters, "pictures"), noted(failed, PICTURES):
            draw_pictures(reporters.log, evaluation)
    note_failures(reporters, step, failed)
    if is_due(step, reporters.cadence.evaluation):
        evals = run.config.evals
        names = with_monitors(evals.during, evals.monitors, run.parts)
        evaluate(run, reporters, evaluation, names)


def evaluate_first(run: Run, reporters: Reporters, state: State) -> None:
    """Run the monitors before the first step, where evaluations follow during training."""
    names = with_monitors((), run.config.evals.monitors, run.parts)
    if reporters.cadence.evaluation and names:
        evaluate(run, reporters, evaluation_of(run, reporters, 0, state), names)


def evaluate(run: Run, reporters: Reporters, evaluation: Evaluation, names: Sequence[str]) -> None:
    """Run probes and measures; log and note what they find."""
    step, log = evaluation.step, reporters.log
    with paused(run, reporters, "evaluation"):
        found = evaluate_during_training(evaluation, names, reporters.first)
    for name, value in found.metrics.items():
        reporters.first.setdefault(name, value)
    if found.metrics:
        log.write(step, found.metrics)
    for name, picture in found.pictures.items():
        log.picture(step, name, picture)
    if found.texts:
        reporters.progress.note(f"step {step}: {'  '.join(found.texts)}")
    for warning in found.warnings:
        reporters.progress.note(f"step {step}: warning: {warning}")
    note_failures(reporters, step, found.failed)


def note_failures(reporters: Reporters, step: int, failed: Mapping[str, str]) -> None:
    """Tell which evaluations failed, {evaluation: why}."""
    for name, why in failed.items():
        reporters.progress.note(f"step {step}: {name} failed ({why}); training goes on")


def draw_pictures(log: Log, evaluation: Evaluation) -> None:
    """Draw what the method can show of itself."""
    if restorable_streams(evaluation.parts):
        reconstruction = method_pictures.draw_reconstruction(evaluation)
        log.write(evaluation.step, reconstruction.errors)
        if reconstruction.sheet is not None:
            log.picture(evaluation.step, "reconstruction", reconstruction.sheet)
    for name, sheet in method_pictures.draw_sheets(evaluation).items():
        log.picture(evaluation.step, name, sheet)
