"""Evaluates a run: `python -m maskmim.evaluate --workdir runs/it [--evals knn,linear_probe]`.

Reads config.json and the newest checkpoint of the work directory, on whatever devices there are,
and draws pictures. Without --evals it does what the config's evals.at_end names and writes
results.json; with it only what is asked for, into results-<names>.json. Known are 'reconstruction'
and the probes of config.evals.probes. `--config.evals.KEY=VALUE` changes one of the run's
evaluation settings for this call.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from maskmim import errors
from maskmim.checkpoints.reader import layout, newest
from maskmim.checkpoints.workdir import load_config
from maskmim.config.command_line import command_line
from maskmim.config.load import override
from maskmim.config.parse import ConfigError
from maskmim.evals.run import RESULTS, finish
from maskmim.imagenet import TRAIN_IMAGES
from maskmim.runtime import exits, processes
from maskmim.runtime.shutdown import Departure
from maskmim.training import sharding
from maskmim.training.build import Assembly, assemble, everywhere
from maskmim.types import Variables


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = command_line(
        argv,
        description=__doc__,
        config=False,
        overrides=True,
        options={
            "evals": "names with commas between, as knn,linear_probe,reconstruction",
            **processes.FLAGS,
        },
    )
    processes.join(processes.place_of(options.coordinator, options.processes, options.process))
    with Departure().together():
        return evaluate_run(options)


def evaluate_run(options: argparse.Namespace) -> int:
    """Evaluates a run as the command line asks; returns an exit code."""
    workdir = options.workdir
    here = ["mesh.data=-1", "mesh.fsdp=1", "mesh.sequence=1", "mesh.tensor=1"]
    config = override(load_config(workdir), [*here, *options.overrides])
    asked = (options.evals or "").split(",")
    names = tuple(filter(None, asked)) or config.evals.at_end
    check_names(config, names)
    parts, variables, step = restore(config, workdir)
    processes.say(f"{workdir}: step {step}")
    file = f"results-{'+'.join(names)}.json" if options.evals else RESULTS
    finish(config, workdir, parts, variables, step, names, file=file)
    return errors.DONE


def check_names(config: ConfigDict, names: Sequence[str]) -> None:
    """ConfigError for an evaluation that the config does not know."""
    known = ["reconstruction", *config.evals.probes]
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown evaluation {name!r}: known are {', '.join(known)}")


def restore(config: ConfigDict, workdir: Path) -> tuple[Assembly, Variables, int]:
    """The newest sound checkpoint of a run on the devices at hand; ConfigError where there is none.

    Reads the variables alone: what the optimiser keeps is twice as much again. Nothing in the work
    directory is changed, so that a training that runs there is not disturbed.
    """
    parts = assemble(config, TRAIN_IMAGES)
    wanted = {
        "params": layout(parts.shapes.params, parts.places.params),
        "extra": layout(parts.shapes.extra, parts.places.extra),
    }
    restored = newest(workdir, wanted)
    if restored is None:
        raise ConfigError(
            f"{workdir} has no checkpoint yet: let the training run until its first one"
        )
    whole = sharding.replicated(parts.mesh)
    frozen = jax.tree.map(lambda array: everywhere(array, whole), parts.method.freeze())
    found = restored.state
    return parts, Variables(found["params"], found["extra"], frozen), restored.step


if __name__ == "__main__":
    sys.exit(exits.run(main))
