"""Pretrains with masks: `python -m maskmim.train --config configs/quickstart.py --workdir runs/it`.

The same command again continues where the last one stopped. SIGTERM, SIGINT (Ctrl-C) and SIGUSR1
save a checkpoint after the running step and leave with exit code 75; see maskmim.exits for the
others.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from maskmim import evaluate, exits, sharding, summary
from maskmim.assemble import Assembly, assemble, born_sharded, jitted_step
from maskmim.bricks import bind
from maskmim.checkpoint import Checkpoints, layout
from maskmim.configuration import command_line, to_json
from maskmim.data.pipeline import BadFiles, train_batches
from maskmim.data.records import Records
from maskmim.metrics import Log
from maskmim.progress import Progress
from maskmim.step import State, TrainStep
from maskmim.stopping import StopRequest
from maskmim.types import Tree, Variables
from maskmim.workdir import save_config


class Diverged(exits.UserError):
    """The loss or its gradient was not finite too many times in a row."""

    exit_code = exits.DIVERGED


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = command_line(argv, description=__doc__)
    return train(options.config, options.workdir)


def train(config: ConfigDict, workdir: Path) -> int:
    """Trains to the end or to a polite stop, and evaluates at the end."""
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    save_config(workdir, config)
    records = bind(config.data.train)()
    parts = assemble(config, len(records))
    print(summary.training(config, parts, len(records)), flush=True)

    checkpoints = Checkpoints(
        workdir,
        keep_latest=config.checkpoint.keep_latest,
        keep_every=round(config.checkpoint.keep_every_epochs * parts.span.per_epoch),
    )
    state, frozen = begin_or_continue(config, parts, checkpoints, records)
    start = int(state.step)
    if start < parts.span.steps:
        with StopRequest() as stop:
            state = fit(config, workdir, parts, records, checkpoints, state, frozen, stop)
        if stop.requested:
            checkpoints.close()
            print(f"{stop.requested}: saved step {int(state.step)} of {parts.span.steps}. "
                  "The same command continues from there.", flush=True)
            return exits.SAVED
    elif (workdir / "results.json").exists():
        checkpoints.close()
        print(f"This run is complete ({start} steps). Its results:\n")
        print(evaluate.stored_table(workdir))
        return exits.DONE
    checkpoints.close()
    variables = Variables(state.params, state.extra, frozen)
    evaluate.finish(config, workdir, parts, variables, int(state.step))
    return exits.DONE
