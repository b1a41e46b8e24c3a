"""Pretrains with masks: `python -m maskmim.train --config configs/quickstart.py --workdir runs/it`.

The same command again continues where the last one stopped. SIGTERM, SIGINT (Ctrl-C) and SIGUSR1
save a checkpoint after the running step and leave with exit code 75; the other codes are in
maskmim/exits.py. Several processes, one a host, find each other under SLURM, Open MPI and on TPU
slices; elsewhere --coordinator, --processes and --process say where.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
from ml_collections import ConfigDict

from maskmim import evaluate, exits, hosts, summary
from maskmim.assemble import Assembly, assemble, born_sharded
from maskmim.bricks import bind
from maskmim.checkpoint import Checkpoints, layout
from maskmim.configuration import command_line
from maskmim.data.records import DataError, Records
from maskmim.loop import fit
from maskmim.stopping import StopRequest
from maskmim.types import Tree, Variables
from maskmim.workdir import save_config


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = command_line(argv, description=__doc__, options=hosts.FLAGS)
    hosts.join(hosts.place_of(options.coordinator, options.processes, options.process))
    return train(options.config, options.workdir)


def train(config: ConfigDict, workdir: Path) -> int:
    """Trains to the end or to a polite stop, then evaluates; returns an exit code."""
    records = bind(config.data.train)()
    parts = assemble(config, len(records))
    checkpoints = open_checkpoints(config, workdir, parts)
    save_config(workdir, config, begun=checkpoints.latest is not None, write=hosts.leads())
    hosts.barrier("config", seconds=hosts.JOIN_SECONDS)
    hosts.say(summary.training(config, parts, len(records)))

    state, frozen = begin_or_continue(config, parts, checkpoints, records)
    total = parts.span.steps
    if int(state.step) >= total and evaluate.stored_step(workdir) == int(state.step):
        checkpoints.close()
        hosts.say(f"\nThis run is complete: {total} steps. Its results:\n")
        hosts.say(evaluate.stored_table(workdir))
        return exits.DONE

    with StopRequest() as stop:
        state = fit(config, workdir, parts, records, checkpoints, state, frozen, stop)
    checkpoints.close()
    step = int(state.step)
    if step < total:
        who = stop.requested or "another process"
        hosts.say(f"{who}: step {step} of {total} is saved; the same command continues")
        return exits.SAVED
    tell_bad_files(workdir)
    variables = Variables(state.params, state.extra, frozen)
    evaluate.finish(config, workdir, parts, variables, step, config.evals.at_end)
    return exits.DONE


def tell_bad_files(workdir: Path) -> None:
    """Says how many files could not be read, and where they are listed."""
    for path in sorted(workdir.glob("bad_files*.txt")):
        count = len(path.read_text(encoding="utf-8", errors="surrogateescape").splitlines())
        hosts.say(f"{count} unreadable files gave way to their neighbours, listed in {path}")


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
        hosts.say(f"\ncontinuing from step {restored.step} of {parts.span.steps}")
    return jax.tree.map(lambda array: array, restored.state), frozen


if __name__ == "__main__":
    sys.exit(exits.run(main))
