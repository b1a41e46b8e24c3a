"""Evaluate a run.

  python -m maskmim.evaluate --workdir runs/quickstart
  python -m maskmim.evaluate --workdir runs/quickstart --evals knn,linear_probe,reconstruction

Reads config.json and the newest checkpoint of the work directory, on any devices, and draws
pictures; a training that runs there is not disturbed. Without --evals it runs what the config's
evals.at_end and evals.monitors name and writes results.json; with --evals only what is asked for,
into results-<names>.json. Known are 'reconstruction', the probes of config.evals.probes and the
measures of config.evals.measures.
`--config.evals.KEY=VALUE` changes one evaluation setting for this call, whose results go to
results-<names>.json, too. --out writes results and pictures into another folder, or the results
into a file whose name ends in .json, for a run that may only be read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from maskmim import errors
from maskmim.checkpoints.continuation import check_config_of
from maskmim.checkpoints.reader import attach_shardings, explain_no_checkpoint, restore_newest
from maskmim.checkpoints.workdir import load_config
from maskmim.config.command_line import command_line
from maskmim.config.load import override
from maskmim.config.parse import ConfigError
from maskmim.evals.before_training import (
    check_evaluated_data,
    check_evaluations,
    check_evaluators,
    check_names,
)
from maskmim.evals.drawable import picture_remarks
from maskmim.evals.evaluation import Evaluation, make_encoder
from maskmim.evals.failures import RECONSTRUCTION
from maskmim.evals.run import RESULTS, finish, with_monitors
from maskmim.imagenet import TRAIN_IMAGES
from maskmim.reporting.metrics_log import read_metrics
from maskmim.runtime import activity, exits, processes
from maskmim.runtime.shutdown import Shutdown
from maskmim.training import sharding
from maskmim.training.build import assemble, replicate
from maskmim.types import Variables

EVALUATION_SECTIONS = ("evals", "mesh")


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = command_line(
        argv,
        description=__doc__,
        config=False,
        overrides=EVALUATION_SECTIONS,
        options={
            "evals": "NAMES: names with commas between, as knn,linear_probe,reconstruction",
            "out": "PATH: folder, or file that ends in .json, for the results; default: --workdir",
            **processes.FLAGS,
        },
    )
    processes.join(
        processes.parse_rendezvous(options.coordinator, options.processes, options.process)
    )
    with Shutdown().end_together():
        return evaluate_run(options)


def evaluate_run(options: argparse.Namespace) -> int:
    """Evaluate a run as the command line asks; return an exit code."""
    processes.check_devices()
    workdir = options.workdir
    here = ["mesh.data=-1", "mesh.fsdp=1", "mesh.sequence=1", "mesh.tensor=1"]
    check_overrides(options.overrides)
    config = override(load_config(workdir), [*here, *options.overrides])
    asked = options.evals is not None
    names = parse_names(options.evals) if asked else config.evals.at_end
    check_names(config)
    check_evaluations(config, names, "--evals" if asked else "evals.at_end")
    as_configured = not asked and not options.overrides
    file = RESULTS if as_configured else f"results-{'+'.join(names)}.json"
    folder, file = place_of_results(options.out, workdir, file)
    evaluation = restore(config, workdir)._replace(workdir=folder)
    wanted = tuple(names)
    if not asked:
        names = with_monitors(names, config.evals.monitors, evaluation.parts)
    evaluators = [name for name in names if name != RECONSTRUCTION]
    check_evaluated_data(evaluation.parts)
    skipped = picture_remarks(evaluation.parts)
    for line in [*skipped, *check_evaluators(config, evaluation.parts, evaluators)]:
        processes.print_once(line)
    processes.print_once(f"{workdir}: step {evaluation.step}")
    rows = read_metrics(workdir / "metrics.jsonl")
    problem = finish(evaluation, names, file=file, rows=rows, asked=wanted).error
    if problem is not None:
        raise problem
    return errors.DONE


def parse_names(text: str) -> tuple[str, ...]:
    """Return the names in --evals, each once; raise ConfigError where there is none."""
    names = [name.strip() for name in text.split(",")]
    if not any(names):
        raise ConfigError(
            f"--evals={text!r} names no evaluation: give names, as --evals knn,linear_probe, or "
            "leave --evals out for those of evals.at_end"
        )
    return tuple(dict.fromkeys(filter(None, names)))


def place_of_results(out: str | None, workdir: Path, file: str) -> tuple[Path, str]:
    """Return the folder and the name of the results; out: of --out, a folder or a .json file."""
    if out is None:
        return workdir, file
    if not out.strip():
        raise ConfigError(f"--out={out!r} names no folder: give one, or leave --out out")
    path = Path(out).expanduser()
    is_file = path.suffix == ".json" and not path.is_dir()
    return (path.parent, path.name) if is_file else (path, file)


def check_overrides(overrides: Sequence[str]) -> None:
    """Raise ConfigError for a key that is not of the evaluation: the run was trained with it."""
    for override_text in overrides:
        key = override_text.partition("=")[0]
        if key.partition(".")[0] not in EVALUATION_SECTIONS:
            raise ConfigError(
                f"--config.{key}: evaluate takes keys of {' and '.join(EVALUATION_SECTIONS)} only, "
                "as the rest is what the run was trained with"
            )


def restore(config: ConfigDict, workdir: Path) -> Evaluation:
    """Read the newest sound checkpoint of a run on the devices at hand.

    Reads the variables alone: the state of the optimiser is twice as large. Nothing in the work
    directory is changed, so that a training that runs there is not disturbed.
    Raises ConfigError where there is no checkpoint.
    """
    with activity.during("building the method"):
        parts = assemble(config, TRAIN_IMAGES)
    like = {
        "params": attach_shardings(parts.shapes.params, parts.shardings.params),
        "extra": attach_shardings(parts.shapes.extra, parts.shardings.extra),
    }
    with activity.during(f"reading the newest checkpoint of {workdir}"):
        restored = restore_newest(workdir, like)
    if restored is None:
        raise ConfigError(explain_no_checkpoint(workdir))
    check_config_of(restored, config, workdir)
    replicated = sharding.replicated(parts.mesh)
    frozen = jax.tree.map(lambda array: replicate(array, replicated), parts.method.freeze())
    variables = Variables(restored.state["params"], restored.state["extra"], frozen)
    encode = make_encoder(config, parts)
    return Evaluation(config, workdir, parts, variables, restored.step, encode)


if __name__ == "__main__":
    sys.exit(exits.run(main))
