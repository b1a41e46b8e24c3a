"""Evaluate a run, or the weights of a file.

  python -m maskmim.evaluate --workdir runs/quickstart
  python -m maskmim.evaluate --workdir runs/quickstart --evals knn,linear_probe,reconstruction
  python -m maskmim.evaluate --weights model.safetensors --config quickstart --out evaluated/model

Reads config.json and the newest checkpoint of the work directory, on any devices, and draws
pictures; a training that runs there is not disturbed. Without --evals it runs what the config's
evals.at_end and evals.monitors name and writes results.json; with --evals only what is asked for,
into results-<names>.json. Known are 'reconstruction', the probes of config.evals.probes and the
measures of config.evals.measures.
`--config.evals.KEY=VALUE` changes one evaluation setting for this call, whose results go to
results-<names>.json, too; results of other settings stay, and the new ones go to
results-<names>-2.json. --out writes results and pictures into another folder, or the results
into a file whose name ends in .json and the pictures beside it, those of a.json into images-a/, for
a run that may only be read. A killed evaluation leaves what it finished in unfinished-<file>.

With --weights the network is that of a safetensors file, or of a folder with one, of transformers,
timm, the official MAE or our export, as maskmim.load reads it; data, transform and evaluations are
those of --config (by default the embedded photographs), changed by --config.evals.KEY=VALUE and
--config.data.KEY=VALUE. --heads, --decoder-heads, --mean and --std say what a file does not,
--layout which layout it must have, --size the size of inputs, as 96 or 96,128, to which positions
are resized.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
from ml_collections import ConfigDict

from maskmim import errors
from maskmim.checkpoints.continuation import check_config_of
from maskmim.checkpoints.reader import attach_shardings, explain_no_checkpoint, restore_newest
from maskmim.checkpoints.workdir import load_config
from maskmim.config.command_line import command_line, number, path, positive_number
from maskmim.config.defaults import base
from maskmim.config.load import load, override
from maskmim.config.parse import ConfigError
from maskmim.evals.before_training import (
    check_classes_of_run,
    check_evaluated_data,
    check_evaluations,
    check_evaluators,
    check_names,
)
from maskmim.evals.drawable import picture_remarks
from maskmim.evals.evaluation import Evaluation, make_encoder
from maskmim.evals.failures import RECONSTRUCTION
from maskmim.evals.results_file import file_of_settings
from maskmim.evals.run import RESULTS, finish, with_monitors
from maskmim.imagenet import TRAIN_IMAGES
from maskmim.inference.file_source import Said, of_file
from maskmim.inference.loaded import LAYOUTS, OWN, Loaded, with_size
from maskmim.inference.run_source import run_of
from maskmim.inference.weights_evaluation import check_layout, evaluation_of, weights_record
from maskmim.reporting.metrics_log import read_metrics
from maskmim.runtime import activity, exits, processes
from maskmim.runtime.shutdown import Shutdown
from maskmim.training import sharding
from maskmim.training.build import assemble, replicate
from maskmim.types import Variables

EVALUATION_SECTIONS = ("evals", "mesh")
WEIGHTS_SECTIONS = ("data", "evals", "mesh")
OF_RUNS = "the rest is what the run was trained with"
OF_WEIGHTS = "the network and its input are those of the weights"
Number = TypeVar("Number", int, float)
HERE = ("mesh.data=-1", "mesh.fsdp=1", "mesh.sequence=1", "mesh.tensor=1")
# The folder of pictures.
PICTURES = "images"
# Flags that say what --weights means.
SAYING = ("config", "layout", "size", "heads", "decoder_heads", "mean", "std")


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = command_line(
        argv,
        description=__doc__,
        config=False,
        workdir=False,
        overrides=WEIGHTS_SECTIONS,
        options={
            "workdir": "DIR: folder of the run",
            "evals": "NAMES: names with commas between, as knn,linear_probe,reconstruction",
            "out": "PATH: folder, or file that ends in .json, for the results; default: --workdir",
            "weights": "PATH: evaluate a safetensors file, or a folder with one, in place of a run",
            "config": "NAME[:ARGUMENT]: with --weights, the config whose data are evaluated",
            "layout": f"NAME: with --weights, the layout of the file: {', '.join(LAYOUTS)}",
            "size": "SIZE: with --weights, size of the inputs, as 96 or 96,128",
            "heads": "N: with --weights, attention heads of the encoder",
            "decoder-heads": "N: with --weights, attention heads of the decoder",
            "mean": "A,B,C: with --weights, mean of each channel of inputs in [0, 1]",
            "std": "A,B,C: with --weights, deviation of each channel of inputs in [0, 1]",
            **processes.FLAGS,
        },
    )
    check_subject(options)
    processes.join(
        processes.parse_rendezvous(options.coordinator, options.processes, options.process)
    )
    with Shutdown().end_together():
        processes.check_devices()
        return evaluate_weights(options) if options.weights else evaluate_run(options)


def check_subject(options: argparse.Namespace) -> None:
    """Raise ConfigError unless the flags name a run or weights, and what goes with it."""
    if bool(options.workdir) == bool(options.weights):
        raise ConfigError(
            "name what to evaluate: --workdir DIR for a run, or --weights PATH for the weights of "
            "a file"
        )
    if options.workdir and (given := [name for name in SAYING if getattr(options, name)]):
        raise ConfigError(
            f"--{given[0].replace('_', '-')} goes with --weights: the config of a run says it"
        )
    if options.weights and not options.out:
        raise ConfigError("--weights needs --out DIR, a folder for results and pictures")
    if options.weights and run_of(path(options.weights)):
        raise ConfigError(f"{options.weights} is a run of maskmim: use --workdir")


def evaluate_run(options: argparse.Namespace) -> int:
    """Evaluate a run as the command line asks; return an exit code."""
    workdir = path(options.workdir)
    check_overrides(options.overrides, EVALUATION_SECTIONS, OF_RUNS)
    config = override(load_config(workdir), [*HERE, *options.overrides])
    names, asked = names_of(config, options.evals)
    as_configured = not asked and not options.overrides
    file = RESULTS if as_configured else file_of_settings(workdir, names, options.overrides)
    folder, file, pictures = place_of_results(options.out, workdir, file)
    evaluation = restore(config, workdir)._replace(workdir=folder, pictures=pictures)
    processes.print_once(f"{workdir}: step {evaluation.step}")
    rows = read_metrics(workdir / "metrics.jsonl")
    overrides = options.overrides
    return evaluate(evaluation, names, asked, file=file, rows=rows, overrides=overrides)


def evaluate_weights(options: argparse.Namespace) -> int:
    """Evaluate the weights of a file as the command line asks; return an exit code."""
    check_overrides(options.overrides, WEIGHTS_SECTIONS, OF_WEIGHTS)
    with activity.during(f"reading {options.weights}"):
        loaded = of_file(options.weights, said_of(options))
    if options.layout:
        check_layout(loaded, options.layout)
    if size := numbers_of(options, "size", positive_number):
        loaded, line = with_size(loaded, size * 2 if len(size) == 1 else size)
        processes.print_once(line or f"{loaded.title}: made for this size")
    data = config_of_data(options.config, loaded)
    config = override(data, [*HERE, *options.overrides])
    names, asked = names_of(config, options.evals)
    folder, file, pictures = place_of_results(options.out, Path(), RESULTS)
    with activity.during("building the network"):
        evaluation = evaluation_of(loaded, config, folder)._replace(pictures=pictures)
    for remark in loaded.remarks:
        processes.print_once(f"{options.weights}: {remark}")
    facts = {"weights": weights_record(loaded), "overrides": options.overrides}
    return evaluate(evaluation, names, asked, file=file, **facts)


def config_of_data(name: str | None, loaded: Loaded) -> ConfigDict:
    """Return the config whose data are evaluated: by default an exported run's own, or `base`."""
    if name:
        return load(name)
    return loaded.config if loaded.layout == OWN else base()


def said_of(options: argparse.Namespace) -> Said:
    """Return what the command line says of a file."""
    heads, decoder_heads = (
        numbers_of(options, name, positive_number) for name in ("heads", "decoder_heads")
    )
    mean, std = (numbers_of(options, name, number) for name in ("mean", "std"))
    return Said(heads and heads[0], decoder_heads and decoder_heads[0], mean, std)


def numbers_of(
    options: argparse.Namespace, name: str, kind: Callable[[str], Number]
) -> tuple[Number, ...] | None:
    """Return the numbers of a flag, None where it is not given; raise ConfigError for other texts.

    kind: a type of argparse, `number` or `positive_number`.
    """
    text = getattr(options, name)
    try:
        return None if text is None else tuple(kind(part) for part in text.split(","))
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"--{name.replace('_', '-')}={text}: {error}") from None


def names_of(config: ConfigDict, asked: str | None) -> tuple[tuple[str, ...], bool]:
    """Return the names of the evaluations, checked, and whether --evals names them.

    asked: the text of --evals; None for those of evals.at_end.
    """
    names = config.evals.at_end if asked is None else parse_names(asked)
    check_names(config)
    check_evaluations(config, names, "evals.at_end" if asked is None else "--evals")
    return tuple(names), asked is not None


def evaluate(
    evaluation: Evaluation, wanted: Sequence[str], asked: bool, *, file: str, **facts: Any
) -> int:
    """Run evaluations, write and print their results; return an exit code.

    asked: by --evals, so that monitors do not run besides. file, facts: of `finish`.
    """
    config, parts = evaluation.config, evaluation.parts
    names = wanted if asked else with_monitors(wanted, config.evals.monitors, parts)
    check_evaluated_data(parts)
    evaluators = [name for name in names if name != RECONSTRUCTION]
    remarks = [*check_classes_of_run(parts), *picture_remarks(parts)]
    for line in [*remarks, *check_evaluators(config, parts, evaluators)]:
        processes.print_once(line)
    problem = finish(evaluation, names, file=file, asked=wanted, **facts).error
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


def place_of_results(out: str | None, workdir: Path, file: str) -> tuple[Path, str, str]:
    """Return the folder, the name of the results and that of the folder of pictures in it.

    out: of --out, a folder or a .json file, which has pictures of its own.
    """
    if out is None:
        return workdir, file, PICTURES
    if not out.strip():
        raise ConfigError(f"--out={out!r} names no folder: give one, or leave --out out")
    path = Path(out).expanduser()
    is_file = path.suffix == ".json" and not path.is_dir()
    if not is_file:
        return path, file, PICTURES
    own = PICTURES if path.name == RESULTS else f"{PICTURES}-{path.stem}"
    return path.parent, path.name, own


def check_overrides(overrides: Sequence[str], sections: Sequence[str], why: str) -> None:
    """Raise ConfigError for a key outside the sections that are taken, with the reason why."""
    for override_text in overrides:
        key = override_text.partition("=")[0]
        if key.partition(".")[0] not in sections:
            taken = f"{', '.join(sections[:-1])} and {sections[-1]}"
            raise ConfigError(f"--config.{key}: evaluate takes keys of {taken} only, as {why}")


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
