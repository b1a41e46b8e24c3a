"""Pretrain with masks.

  python -m maskmim.train --config quickstart --workdir runs/quickstart
  python -m maskmim.train --config mae:variant=L/16 --config.mask.ratio=0.6 --workdir runs/mae
  python -m maskmim.train --config mae --print-config

The same command again continues an unfinished run. SIGTERM, SIGINT (Ctrl-C), SIGUSR1 and SIGHUP
save a checkpoint after the running step and leave with exit code 75. Several processes, one a host,
find each other under SLURM, Open MPI and on TPU slices; elsewhere --coordinator, --processes and
--process tell each process where to meet.
"""

from __future__ import annotations

import platform
import sys
import zlib
from pathlib import Path

import jax
from ml_collections import ConfigDict

from maskmim import errors
from maskmim.checkpoints.reader import attach_shardings
from maskmim.checkpoints.workdir import save_config
from maskmim.checkpoints.writer import Checkpoints
from maskmim.config.bricks import bind
from maskmim.config.command_line import command_line
from maskmim.data.records import DataError, Records
from maskmim.evals.evaluation import Evaluation, make_encoder
from maskmim.evals.run import finish, stored_step, stored_table
from maskmim.planning import summary
from maskmim.reporting.bad_steps import Diverged
from maskmim.reporting.goodput import Goodput
from maskmim.reporting.profiler import parse_steps
from maskmim.runtime import exits, processes
from maskmim.runtime.shutdown import Shutdown
from maskmim.runtime.signals import StopSignals
from maskmim.runtime.timeline import Timeline, process_age
from maskmim.runtime.watchdog import Watchdog
from maskmim.train_loop import Run, fit
from maskmim.training.build import Assembly, assemble, init_sharded
from maskmim.types import State, Tree, Variables

OPTIONS = {"profile": "STEPS: trace this many steps into WORKDIR/profile, for XProf"}


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    timeline, shutdown = Timeline(before=process_age()), Shutdown()
    with StopSignals(timeline, lambda why: shutdown.report_and_end(errors.SAVED, why)) as stop:
        options = command_line(argv, description=__doc__, options={**OPTIONS, **processes.FLAGS})
        profile = parse_steps(options.profile)
        processes.join(
            processes.parse_rendezvous(options.coordinator, options.processes, options.process)
        )
        with (
            shutdown.end_together(),
            watchdog(options.config, options.workdir, timeline, shutdown),
        ):
            return train(options.config, options.workdir, stop, shutdown, profile=profile)


def watchdog(config: ConfigDict, workdir: Path, timeline: Timeline, shutdown: Shutdown) -> Watchdog:
    """Return what ends this process where it hangs; its stacks go to stuck-<process>.txt."""
    return Watchdog(
        timeline,
        workdir / f"stuck-{processes.process_index()}.txt",
        in_steps=config.process.stuck_after_seconds,
        elsewhere=config.process.stuck_elsewhere_seconds,
        end_process=lambda why: shutdown.end_process(errors.STUCK, why),
    )


def train(
    config: ConfigDict, workdir: Path, stop: StopSignals, shutdown: Shutdown, *, profile: int = 0
) -> int:
    """Train to the end or to a polite stop, then evaluate; return an exit code."""
    keep_programs(config, workdir)
    parts, records, checkpoints = open_run(config, workdir, shutdown)
    state, frozen = begin_or_continue(config, parts, checkpoints, records)
    step, total = int(state.step), parts.span.steps
    if step >= total and stored_step(workdir) == step:
        checkpoints.close()
        if profile:
            processes.print_once("\nno step is left to profile: use another --workdir")
        processes.print_once(f"\nThis run is complete: {total} steps. Its results:\n")
        processes.print_once(stored_table(workdir))
        return errors.DONE

    goodput = Goodput(workdir, stop.timeline, first=step, enabled=processes.is_main())
    run = Run(config, workdir, parts, records, checkpoints, frozen, stop, goodput, profile)
    state = fit_and_save(run, state, shutdown)
    step = int(state.step)
    if step < total:
        who = stop.requested or "another process"
        processes.print_once(f"{who}: step {step} of {total} is saved; the same command continues")
        return errors.SAVED
    report_bad_files(workdir)
    variables = Variables(state.params, state.extra, frozen)
    with stop.timeline.during("evaluation"):
        encode = make_encoder(config, parts)
        finish(Evaluation(config, workdir, parts, variables, step, encode), config.evals.at_end)
    goodput.write()
    processes.print_once("\n" + goodput.table())
    return errors.DONE


def open_run(
    config: ConfigDict, workdir: Path, shutdown: Shutdown
) -> tuple[Assembly, Records, Checkpoints]:
    """Open the data and the checkpoints, check and store the config, print the start-up sheet."""
    records = bind(config.data.train)()
    parts = assemble(config, len(records))
    checkpoints = open_checkpoints(config, workdir, parts)
    shutdown.finish_saves = checkpoints.close
    begun = checkpoints.latest is not None
    save_config(workdir, config, has_checkpoint=begun, write=processes.is_main())
    processes.barrier("config", seconds=processes.JOIN_SECONDS)
    processes.print_once(summary.start_sheet(config, parts, len(records)))
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


def keep_programs(config: ConfigDict, workdir: Path) -> None:
    """Keep compiled programs in a folder, so that the next start need not compile them.

    JAX_COMPILATION_CACHE_DIR wins over process.compile_cache, a folder in the work directory; ''
    keeps nothing. A program holds instructions of the host's processor, so each kind of processor
    has its own folder.
    """
    if config.process.compile_cache and not jax.config.jax_compilation_cache_dir:
        folder = workdir / config.process.compile_cache / processor()
        jax.config.update("jax_compilation_cache_dir", str(folder))


def processor() -> str:
    """Return a short name for the instruction set of this host's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    can = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    return f"{platform.machine()}-{zlib.crc32(can.encode()):08x}"


def report_bad_files(workdir: Path) -> None:
    """Print how many files could not be read, and where they are listed."""
    for path in sorted(workdir.glob("bad_files*.txt")):
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
) -> tuple[State, Tree]:
    """Return the newest checkpoint's state, or a new one, and the frozen variables.

    Raises DataError where the data are not those that the checkpoint was trained on: the order of
    examples would not continue.
    """
    state, frozen = init_sharded(parts, config.seed)
    restored = checkpoints.restore(attach_shardings(parts.shapes, parts.shardings))
    if restored is None:
        return state, frozen
    if restored.data["fingerprint"] != records.fingerprint:
        raise DataError(
            f"{checkpoints.folder.parent} was trained on {restored.data['examples']} other images "
            f"than the {len(records)} that {config.data.train.brick} gives now: restore the data, "
            "or begin a new run in another --workdir"
        )
    if restored.step < parts.span.steps:
        processes.print_once(f"\ncontinuing from step {restored.step} of {parts.span.steps}")
    return jax.tree.map(lambda array: array, restored.state), frozen


if __name__ == "__main__":
    code = exits.run(main)
    if not processes.is_distributed():
        exits.exit_now(code)  # Python would wait for threads, and one that reads data may hang
    sys.exit(code)
