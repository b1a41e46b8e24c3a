"""Pretrains with masks: `python -m maskmim.train --config configs/quickstart.py --workdir runs/it`.

The same command again continues where the last one stopped. SIGTERM, SIGINT (Ctrl-C), SIGUSR1 and
SIGHUP save a checkpoint after the running step and leave with exit code 75; the other codes are in
maskmim/runtime/exits.py. Several processes, one a host, find each other under SLURM, Open MPI and on TPU
slices; elsewhere --coordinator, --processes and --process say where.
"""

from __future__ import annotations

import platform
import sys
import zlib
from pathlib import Path

import jax
from ml_collections import ConfigDict

from maskmim import errors
from maskmim.checkpoints.reader import layout
from maskmim.checkpoints.workdir import save_config
from maskmim.checkpoints.writer import Checkpoints
from maskmim.config.bricks import bind
from maskmim.config.command_line import command_line
from maskmim.data.records import DataError, Records
from maskmim.evals import run
from maskmim.planning import summary
from maskmim.reporting.bad_steps import Diverged
from maskmim.reporting.goodput import Goodput
from maskmim.runtime import exits, processes
from maskmim.runtime.shutdown import Departure
from maskmim.runtime.signals import StopRequest
from maskmim.runtime.timeline import Timeline, process_age
from maskmim.runtime.watchdog import Watchdog
from maskmim.train_loop import fit
from maskmim.training.build import Assembly, assemble, born_sharded
from maskmim.types import Tree, Variables


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    times, departure = Timeline(before=process_age()), Departure()
    with StopRequest(times, lambda why: departure.leave_and_say(errors.SAVED, why)) as stop:
        options = command_line(argv, description=__doc__, options=processes.FLAGS)
        processes.join(processes.place_of(options.coordinator, options.processes, options.process))
        with departure.together(), watchdog(options.config, options.workdir, times, departure):
            return train(options.config, options.workdir, stop, departure)


def watchdog(config: ConfigDict, workdir: Path, times: Timeline, departure: Departure) -> Watchdog:
    """What ends this process where it hangs; its stacks go to stuck-<process>.txt."""
    return Watchdog(
        times,
        workdir / f"stuck-{processes.own_number()}.txt",
        in_steps=config.process.stuck_after_seconds,
        elsewhere=config.process.stuck_elsewhere_seconds,
        leave=lambda why: departure.leave(errors.STUCK, why),
    )


def train(config: ConfigDict, workdir: Path, stop: StopRequest, departure: Departure) -> int:
    """Trains to the end or to a polite stop, then evaluates; returns an exit code."""
    keep_programs(config, workdir)
    records = bind(config.data.train)()
    parts = assemble(config, len(records))
    checkpoints = open_checkpoints(config, workdir, parts)
    departure.settle = checkpoints.close
    save_config(workdir, config, begun=checkpoints.latest is not None, write=processes.leads())
    processes.barrier("config", seconds=processes.JOIN_SECONDS)
    processes.say(summary.training(config, parts, len(records)))

    state, frozen = begin_or_continue(config, parts, checkpoints, records)
    total = parts.span.steps
    if int(state.step) >= total and run.stored_step(workdir) == int(state.step):
        checkpoints.close()
        processes.say(f"\nThis run is complete: {total} steps. Its results:\n")
        processes.say(run.stored_table(workdir))
        return errors.DONE

    goodput = Goodput(workdir, stop.times, first=int(state.step), enabled=processes.leads())

    def settle() -> None:
        goodput.write()
        checkpoints.close()

    departure.settle = settle
    try:
        state = fit(config, workdir, parts, records, checkpoints, state, frozen, stop, goodput)
    except Diverged:
        checkpoints.wait()
        raise
    finally:
        goodput.write()
    with stop.times.during("checkpoint"):
        checkpoints.close()
    departure.settle = goodput.write
    step = int(state.step)
    if step < total:
        who = stop.requested or "another process"
        processes.say(f"{who}: step {step} of {total} is saved; the same command continues")
        return errors.SAVED
    tell_bad_files(workdir)
    variables = Variables(state.params, state.extra, frozen)
    with stop.times.during("evaluation"):
        run.finish(config, workdir, parts, variables, step, config.evals.at_end)
    goodput.write()
    processes.say("\n" + goodput.table())
    return errors.DONE


def keep_programs(config: ConfigDict, workdir: Path) -> None:
    """Keeps compiled programs in a folder, so that the next start need not compile them.

    jax's own JAX_COMPILATION_CACHE_DIR goes before process.compile_cache, a folder in the work
    directory; '' keeps nothing. A program holds instructions of the host's processor, so that each
    kind has a folder of its own.
    """
    if config.process.compile_cache and not jax.config.jax_compilation_cache_dir:
        folder = workdir / config.process.compile_cache / processor()
        jax.config.update("jax_compilation_cache_dir", str(folder))


def processor() -> str:
    """A short name for what this host's processor can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    can = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    return f"{platform.machine()}-{zlib.crc32(can.encode()):08x}"


def tell_bad_files(workdir: Path) -> None:
    """Says how many files could not be read, and where they are listed."""
    for path in sorted(workdir.glob("bad_files*.txt")):
        count = len(path.read_text(encoding="utf-8", errors="surrogateescape").splitlines())
        processes.say(f"{count} unreadable files gave way to their neighbours, listed in {path}")


def open_checkpoints(config: ConfigDict, workdir: Path, parts: Assembly) -> Checkpoints:
    """The checkpoints of a run with the policies of its config."""
    keep_every = round(config.checkpoint.keep_every_epochs * parts.span.per_epoch)
    return Checkpoints(workdir, keep_latest=config.checkpoint.keep_latest, keep_every=keep_every)


def begin_or_continue(
    config: ConfigDict, parts: Assembly, checkpoints: Checkpoints, records: Records
) -> tuple[object, Tree]:
    """The newest checkpoint's state, or a new one; and the frozen variables.

    Raises DataError where the data are not those that the checkpoint was trained on: the order of
    examples would not continue.
    """
    state, frozen = born_sharded(parts, config.seed)
    restored = checkpoints.restore(layout(parts.shapes, parts.places))
    if restored is None:
        return state, frozen
    if restored.data["fingerprint"] != records.fingerprint:
        raise DataError(
            f"{checkpoints.folder.parent} was trained on {restored.data['examples']} other images "
            f"than the {len(records)} that {config.data.train.brick} gives now: restore the data, "
            "or begin a new run in another --workdir"
        )
    if restored.step < parts.span.steps:
        processes.say(f"\ncontinuing from step {restored.step} of {parts.span.steps}")
    return jax.tree.map(lambda array: array, restored.state), frozen


if __name__ == "__main__":
    code = exits.run(main)
    if not processes.several():
        exits.leave(code)  # Python would wait for threads, and one that reads data may hang
    sys.exit(code)
