"""Pretrain with masks.

  python -m maskmim.train --config quickstart --workdir runs/quickstart
  python -m maskmim.train --config mae:variant=L/16 --config.mask.ratio=0.6 --workdir runs/mae
  python -m maskmim.train --config mae --config.begin.workdir=runs/a --workdir runs/b
  python -m maskmim.train --config mae --print-config

The same command again continues an unfinished run. A new run begins from the weights of another
(--config.begin.workdir) or of a file (--config.begin.file), see docs/weights.md. SIGTERM, SIGINT
(Ctrl-C), SIGUSR1 and SIGHUP save a checkpoint after the running step and leave with exit code 75.
Several processes, one a host, find each other under SLURM, Open MPI and on TPU slices; elsewhere
--coordinator, --processes and --process tell each process where to meet.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from maskmim import errors
from maskmim.checkpoints import continuation
from maskmim.checkpoints.lengthen import keep_warmup
from maskmim.checkpoints.reader import attach_shardings
from maskmim.checkpoints.workdir import (
    CONFIG,
    check_config,
    save_config,
    set_earlier_run_aside,
)
from maskmim.checkpoints.writer import Checkpoints
from maskmim.config.bricks import bind
from maskmim.config.command_line import command_line
from maskmim.data.records import Records
from maskmim.evals.before_training import check_names, check_training
from maskmim.evals.comparison import compared_runs, finish_comparison
from maskmim.evals.evaluation import Evaluation, make_encoder
from maskmim.evals.run import (
    Results,
    finish,
    stored_step,
    stored_table,
    with_monitors,
)
from maskmim.interop import initial_weights
from maskmim.planning import summary
from maskmim.reporting.bad_steps import Diverged
from maskmim.reporting.goodput import Goodput
from maskmim.reporting.metrics_file import flat_metrics, read_metrics
from maskmim.reporting.metrics_log import Log
from maskmim.reporting.profiler import parse_steps
from maskmim.reporting.trackers import Trackers, make_trackers
from maskmim.runtime import activity, exits, processes
from maskmim.runtime.programs import keep_programs
from maskmim.runtime.shutdown import Shutdown
from maskmim.runtime.signals import StopSignals
from maskmim.runtime.timeline import Timeline, process_age
from maskmim.runtime.watchdog import Watchdog
from maskmim.runtime.workdir_lock import WorkdirLock, make_workdir
from maskmim.train_loop import Run, fit
from maskmim.training.build import Assembly, assemble, freeze, init_state
from maskmim.types import State, Tree, Variables

# What becomes of a run that a signal stops.
CONTINUES = "the same command continues"
NOTHING_SAVED = "nothing is saved yet, the same command begins anew"

OPTIONS = {"profile": "STEPS: trace this many steps into WORKDIR/profile, for XProf"}


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    # A call from Python, as in a notebook, is not the life of its process.
    before = process_age() if argv is None else 0.0
    timeline, shutdown = Timeline(before=before), Shutdown()
    with StopSignals(timeline, lambda why: shutdown.report_and_end(errors.SAVED, why)) as stop:
        flags = {**OPTIONS, **processes.FLAGS}
        with activity.during("reading the config"):
            options = command_line(argv, description=__doc__, options=flags)
        activity.follow(timeline)
        profile = parse_steps(options.profile)
        processes.join(
            processes.parse_rendezvous(options.coordinator, options.processes, options.process)
        )
        with shutdown.end_together():
            processes.check_devices()
            with (
                watchdog(options.config, options.workdir, timeline, shutdown),
                hold(options.workdir, shutdown),
            ):
                config = keep_warmup(options.config, options.workdir, options.overrides)
                others = compared_runs(config)
                for name, other in others.items():
                    initial_weights.check_begin(other, options.workdir / name)
                code = train(config, options.workdir, stop, shutdown, profile=profile)
                if code != errors.DONE or not others:
                    return code
                return train_others(options, others, stop, shutdown)


def train_others(
    options: argparse.Namespace,
    others: Mapping[str, ConfigDict],
    stop: StopSignals,
    shutdown: Shutdown,
) -> int:
    """Train the runs that a complete run is compared with, in its folder; return an exit code."""
    for name, other in others.items():
        workdir = options.workdir / name
        processes.print_once(f"\nto compare with: {name.replace('_', ' ')}, in {workdir}")
        stop.timeline.restart()
        if processes.is_main():
            make_workdir(workdir)
        processes.barrier(f"folder of {name}", seconds=processes.JOIN_SECONDS)
        code = train(keep_warmup(other, workdir, options.overrides), workdir, stop, shutdown)
        if code != errors.DONE:
            return code
    finish_comparison(options.config, options.workdir)
    return errors.DONE


def watchdog(config: ConfigDict, workdir: Path, timeline: Timeline, shutdown: Shutdown) -> Watchdog:
    """Return what ends this process where it hangs; its stacks go to stuck-<process>.txt."""
    return Watchdog(
        timeline,
        workdir / f"stuck-{processes.process_index()}.txt",
        in_steps=config.process.stuck_after_seconds,
        elsewhere=config.process.stuck_elsewhere_seconds,
        end_process=lambda why: shutdown.end_process(errors.STUCK, why),
    )


@contextlib.contextmanager
def hold(workdir: Path, shutdown: Shutdown) -> Iterator[None]:
    """Make the work directory, and be the only training that uses it while inside.

    The main process does it, the others wait. Raises InUse where another training is there.
    """
    is_main = processes.process_index() == 0
    lock = WorkdirLock(
        workdir,
        lost=lambda why: shutdown.report_and_end(errors.USAGE, why),
        say=exits.print_stderr,
    )
    if is_main:
        make_workdir(workdir)
        lock.acquire()
        shutdown.release = lock.release
    try:
        processes.barrier("work directory", seconds=processes.JOIN_SECONDS)
        yield
    finally:
        if is_main:
            lock.release()


def train(
    config: ConfigDict, workdir: Path, stop: StopSignals, shutdown: Shutdown, *, profile: int = 0
) -> int:
    """Train to the end or to a polite stop, then evaluate; return an exit code."""
    keep_programs(config.process.compile_cache, workdir)
    trackers = make_trackers(config, enabled=processes.is_main())
    parts, records, checkpoints = open_run(config, workdir, shutdown)
    is_new = checkpoints.latest is None  # asked here: a folder that hangs must delay no signal
    stop.outcome = lambda: NOTHING_SAVED if is_new and not has_saved(stop.timeline) else CONTINUES
    state, frozen, origin = begin_or_continue(config, parts, checkpoints, records)
    step, total = int(state.step), parts.span.steps
    if step >= total and stored_step(workdir) == step:
        checkpoints.close()
        if profile:
            processes.print_once("\nno step is left to profile: use another --workdir")
        processes.print_once(f"\nThis run is complete: {step} steps. Its results:\n")
        processes.print_once(stored_table(workdir))
        return errors.DONE

    goodput = Goodput(workdir, stop.timeline, first=step, enabled=processes.is_main())
    with trackers.start(config, workdir, anew=step == 0):
        run = Run(
            config,
            workdir,
            parts,
            records,
            checkpoints,
            frozen,
            origin,
            stop,
            goodput,
            trackers,
            profile,
        )
        return train_and_evaluate(run, state, shutdown)


def train_and_evaluate(run: Run, state: State, shutdown: Shutdown) -> int:
    """Train a run to the end or to a polite stop, then evaluate; return an exit code."""
    config, workdir, parts, stop = run.config, run.workdir, run.parts, run.stop
    state = fit_and_save(run, state, shutdown)
    step, total = int(state.step), parts.span.steps
    if step < total:
        who = stop.requested or "another process"
        saved = f"step {step} of {total} is saved; {CONTINUES}" if step else NOTHING_SAVED
        processes.print_once(f"{who}: {saved}")
        return errors.SAVED
    report_bad_files(workdir)
    variables = Variables(state.params, state.extra, run.frozen)
    with stop.timeline.during("evaluation"):
        encode = make_encoder(config, parts)
        evaluation = Evaluation(config, workdir, parts, variables, step, encode)
        rows = read_metrics(workdir / "metrics.jsonl")
        names = with_monitors(config.evals.at_end, config.evals.monitors, parts)
        results, problem = finish(evaluation, names, rows=rows, asked=config.evals.at_end)
        log_results(workdir, step, results, rows, run.trackers)
    run.goodput.write()
    processes.print_once("\n" + run.goodput.table())
    if problem is not None:
        raise problem
    return errors.DONE


def has_saved(timeline: Timeline) -> bool:
    """Return whether this process has begun to save a checkpoint."""
    return timeline.seconds()["checkpoint"] > 0


def log_results(
    workdir: Path,
    step: int,
    results: Results,
    rows: Sequence[Mapping[str, Any]],
    trackers: Trackers,
) -> None:
    """Write the final metrics of this encoder to metrics.jsonl, TensorBoard and trackers.

    rows: of metrics.jsonl; where the last one has them, as a run was evaluated again, nothing is
    written.
    """
    metrics = flat_metrics(results)
    stored = {name: value if np.isfinite(value) else None for name, value in metrics.items()}
    if metrics and not (rows and {"step": step, **stored}.items() <= rows[-1].items()):
        with Log(workdir, step=step, enabled=processes.is_main(), trackers=trackers) as log:
            log.write(step, metrics)


def open_run(
    config: ConfigDict, workdir: Path, shutdown: Shutdown
) -> tuple[Assembly, Records, Checkpoints]:
    """Check the config, open the data and the checkpoints, print the start-up sheet.

    Whatever would end the run later is found here, before anything is compiled.
    """
    check_names(config)
    initial_weights.check_begin(config, workdir)
    with activity.during(f"opening the data ({config.data.train.brick})"):
        records = bind(config.data.train)()
    with activity.during("building the method"):
        parts = assemble(config, len(records))
    checkpoints = open_checkpoints(config, workdir, parts)
    shutdown.finish_saves = checkpoints.close
    if checkpoints.latest is not None:
        is_over = checkpoints.latest > parts.span.steps
        for line in check_config(workdir, config):
            if not (is_over and line.startswith("train.epochs:")):
                processes.print_once(f"changed for the rest of the run: {line}")
    initial_weights.check_selection(config, parts)
    with activity.during("trying an example of each data set"):
        remarks = check_training(config, parts, records)
    with activity.during("counting tokens and FLOPs"):
        sheet = summary.start_sheet(config, parts, len(records))
    processes.print_once("\n".join([sheet, *remarks]))
    return parts, records, checkpoints


def fit_and_save(run: Run, state: State, shutdown: Shutdown) -> State:
    """Train a run and finish its last save; the goodput is written whatever happens."""

    def finish_saves() -> None:
        run.goodput.write()
        run.checkpoints.close()

    shutdown.finish_saves = finish_saves
    try:
        state = fit(run, state)
    except Diverged:
        run.checkpoints.wait()
        raise
    finally:
        run.goodput.write()
    with run.stop.timeline.during("checkpoint"):
        run.checkpoints.close()
    shutdown.finish_saves = run.goodput.write
    return state


def report_bad_files(workdir: Path) -> None:
    """Print how many files could not be read, and where they are listed."""
    for path in sorted(workdir.iterdir()):
        if not re.fullmatch(r"bad_files(-\d+)?\.txt", path.name):
            continue
        count = len(path.read_text(encoding="utf-8", errors="surrogateescape").splitlines())
        processes.print_once(
            f"{count} unreadable files were replaced by the next readable one, see {path}"
        )


def open_checkpoints(config: ConfigDict, workdir: Path, parts: Assembly) -> Checkpoints:
    """Open the checkpoints of a run with the policies of its config."""
    keep_every = round(config.checkpoint.keep_every_epochs * parts.span.per_epoch)
    return Checkpoints(workdir, keep_latest=config.checkpoint.keep_latest, keep_every=keep_every)


def begin_or_continue(
    config: ConfigDict, parts: Assembly, checkpoints: Checkpoints, records: Records
) -> tuple[State, Tree, dict[str, Any]]:
    """Return the newest checkpoint's state or a new one, the frozen variables, and the origin.

    Stores the config once it is known that it continues the run and asks for no fewer steps than
    are done. Raises DataError, ConfigError or CheckpointError where the newest checkpoint is of
    another run or of other data.
    """
    workdir = checkpoints.folder.parent
    with activity.during(f"looking for a checkpoint in {checkpoints.folder}"):
        restored = checkpoints.restore(attach_shardings(parts.shapes, parts.shardings))
    if restored is not None:
        continuation.check_config_of(restored, config, workdir)
    with activity.during("making the initial weights"):
        frozen = freeze(parts)
        if restored is None:
            state, began = first_state(config, parts)
        else:
            state, began = restored.state, restored.data.get(continuation.BEGAN)
    origin = continuation.origin(config, records, frozen, began=began)
    if restored is not None:
        moved = continuation.moved_weights(workdir, config)
        for line in continuation.check_origin(restored.data, origin, workdir, moved=moved):
            processes.print_once(line)
        say_where_it_continues(restored.step, parts.span.steps, began, workdir)
    if processes.is_main():
        if restored is None and (names := set_earlier_run_aside(workdir)):
            processes.print_once(f"this run begins anew; of an earlier one are {', '.join(names)}")
        if restored is None or restored.step <= parts.span.steps:
            save_config(workdir, config)
    processes.barrier("config", seconds=processes.JOIN_SECONDS)
    return jax.tree.map(lambda array: array, state), frozen, origin


def say_where_it_continues(
    step: int, total: int, began: Mapping[str, Any] | None, workdir: Path
) -> None:
    """Print the step that a run continues from, and what it began from, if anything."""
    if began is not None:
        processes.print_once(f"\n{initial_weights.describe(began)}")
    if step < total:
        processes.print_once(f"\ncontinuing from step {step} of {total}")
    if step > total:
        processes.print_once(
            f"\nthis run has {step} steps already, more than the {total} asked for: no step "
            f"follows, and {workdir / CONFIG} stays as it is"
        )


def first_state(config: ConfigDict, parts: Assembly) -> tuple[State, dict[str, Any] | None]:
    """Return the state of a new run, and the record of the weights that it begins from, if any."""
    if not initial_weights.is_asked_for(config):
        return init_state(parts, config.seed), None
    beginning = initial_weights.begin(config, parts)
    processes.print_once(f"\n{beginning.sheet}")
    return beginning.state, beginning.record


if __name__ == "__main__":
    code = exits.run(main)
    if not processes.is_distributed():
        exits.exit_now(code)  # Python would wait for threads, and one that reads data may hang
    sys.exit(code)
