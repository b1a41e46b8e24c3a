"""Evaluates a run: `python -m maskmim.evaluate --workdir runs/it [--evals knn,linear_probe]`.

Reads config.json and the newest checkpoint of the work directory, on whatever devices there are,
and draws pictures. Without --evals it does what the config's evals.at_end names and writes
results.json; with it only what is asked for, into results-<names>.json. Known are 'reconstruction'
and the probes of config.evals.probes. `--config.evals.KEY=VALUE` changes one of the run's
evaluation settings for this call.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from maskmim import exits, hosts, pictures, sharding
from maskmim.assemble import UNOPENED, Assembly, assemble, born_sharded, everywhere
from maskmim.bricks import bind
from maskmim.configuration import ConfigError, command_line, override
from maskmim.data.pipeline import eval_batches
from maskmim.data.records import DataError, Records
from maskmim.departure import Departure
from maskmim.evals import baselines, report
from maskmim.evals.features import pooled_encoder
from maskmim.evals.suite import run_probes
from maskmim.metrics import read
from maskmim.portraits import draw_reconstruction, draw_sheets
from maskmim.stored import layout, newest
from maskmim.types import Variables
from maskmim.workdir import load_config, write_atomic

RESULTS = "results.json"
OURS = "this encoder"
# Errors of evals.reconstruction, and what they are the errors of.
GUESSES = {
    "reconstruction/mse": "prediction, patch statistics put back",
    "reconstruction/mse_own_mean": "each hidden patch's own mean",
    "reconstruction/mse_mean_visible": "mean of the visible patches",
    "reconstruction/mse_nearest_visible": "copy of the nearest visible patch",
}


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = command_line(
        argv,
        description=__doc__,
        config=False,
        overrides=True,
        options={
            "evals": "names with commas between, as knn,linear_probe,reconstruction",
            **hosts.FLAGS,
        },
    )
    hosts.join(hosts.place_of(options.coordinator, options.processes, options.process))
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
    hosts.say(f"{workdir}: step {step}")
    file = f"results-{'+'.join(names)}.json" if options.evals else RESULTS
    finish(config, workdir, parts, variables, step, names, file=file)
    return exits.DONE


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
    parts = assemble(config, UNOPENED)
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


def finish(
    config: ConfigDict,
    workdir: Path,
    parts: Assembly,
    variables: Variables,
    step: int,
    names: Sequence[str],
    *,
    file: str = RESULTS,
) -> None:
    """Evaluates, writes the results, the last pictures and the loss curve, prints the table."""
    started = time.perf_counter()
    results: dict[str, Any] = {"step": step, "images_seen": step * config.train.batch_size}
    probes = [name for name in names if name != "reconstruction"]
    if "reconstruction" in names and "reconstruct" in parts.method.apply:
        drawn = draw_reconstruction(config, workdir, parts, variables, step)
        results["reconstruction"] = drawn.errors
    draw_sheets(config, workdir, parts, variables, step)
    if probes and config.evals.train and config.evals.test:
        results["probes"] = compare(config, parts, variables, probes)
    elif probes:
        results["skipped"] = (
            f"{', '.join(probes)} skipped: evals.train and evals.test name no labelled images"
        )
    results["seconds"] = round(time.perf_counter() - started, 1)
    if hosts.leads():
        write_atomic(workdir / file, report.as_json(results))
        curve = pictures.loss_curve(read(workdir / "metrics.jsonl"))
        pictures.save_png(workdir / "images" / "loss.png", curve)
    hosts.say("\n" + table(results))
    hosts.say(f"\n{file}, metrics.jsonl and images/ are in {workdir}")


def compare(
    config: ConfigDict, parts: Assembly, variables: Variables, probes: Sequence[str]
) -> dict[str, Any]:
    """Probes of this encoder beside raw pixels, colours and the encoder before training."""
    begun = born_variables(config, parts)
    encode = encoder(config, parts)
    encoders = {
        **baselines.untrained(parts.spec),
        "random init": functools.partial(encode, begun),
        OURS: functools.partial(encode, variables),
    }
    return probe(config, parts, encoders, probes, say=lambda line: hosts.say(f"  {line}"))


def during(
    config: ConfigDict, parts: Assembly, encode: Callable, variables: Variables
) -> dict[str, float]:
    """Probes of this encoder alone, as {metric: value}; for use during training.

    encode: `encoder(config, parts)`, made once so that it compiles once.
    """
    encoders = {OURS: functools.partial(encode, variables)}
    results = probe(config, parts, encoders, config.evals.during, say=lambda line: None)
    return dict(results["encoders"][OURS]["metrics"])


def encoder(config: ConfigDict, parts: Assembly) -> Callable:
    """(variables, images) -> pooled features, jitted."""
    place = sharding.by_example(parts.mesh)
    return pooled_encoder(
        parts.method.apply["encode"],
        pooling=config.evals.pooling,
        place=place,
        stream=parts.spec.stream,
    )


def probe(
    config: ConfigDict,
    parts: Assembly,
    encoders: Mapping[str, Callable],
    probes: Sequence[str],
    *,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Runs the named probes of the config on the features of some encoders."""
    train, test = bind(config.evals.train)(), bind(config.evals.test)()
    check_classes(train, test)

    def batches(records: Any) -> Callable:
        return lambda: eval_batches(
            records,
            spec=parts.spec,
            batch_size=config.evals.batch_size,
            decode=bind(config.evals.decode),
            transform=bind(config.evals.transform),
        )

    bricks = {name: bind(config.evals.probes[name]) for name in probes}
    return run_probes(
        encoders,
        batches(train),
        batches(test),
        train.labels,
        bricks,
        stream=parts.spec.stream,
        say=say,
    )


def check_classes(train: Records, test: Records) -> None:
    """DataError unless both have the same label sets with the same classes, in the same order."""
    if dict(train.labels) == dict(test.labels):
        return
    names = train.labels.keys() | test.labels.keys()
    odd = sorted(
        name
        for name in names
        if not (name in train.labels and train.labels[name] == test.labels.get(name))
    )
    raise DataError(
        f"evals.train and evals.test do not mean the same by the labels {', '.join(odd)}: their "
        "classes must be the same in the same order, as an index would mean another class"
    )


def born_variables(config: ConfigDict, parts: Assembly) -> Variables:
    """The variables before training."""
    state, frozen = born_sharded(parts, config.seed)
    return Variables(state.params, state.extra, frozen)


def table(results: Mapping[str, Any]) -> str:
    """The results as text for people."""
    lines = [f"After {results['step']} steps ({results['images_seen']:,} images)"]
    found = results.get("reconstruction", {})
    if found:
        lines += ["", "Squared error of hidden pixels, in [0, 1]", ""]
        lines += [f"{label:<44}{found[name]:.4f}" for name, label in GUESSES.items()]
    if "probes" in results:
        lines += ["", report.table(results["probes"])]
    if "skipped" in results:
        lines += ["", results["skipped"]]
    return "\n".join(lines)


def stored_step(workdir: Path) -> int | None:
    """The step that results.json is of; None where there is none."""
    path = workdir / RESULTS
    return json.loads(path.read_text(encoding="utf-8"))["step"] if path.exists() else None


def stored_table(workdir: Path) -> str:
    """The table of a finished run."""
    return table(json.loads((workdir / RESULTS).read_text(encoding="utf-8")))


def one_line(found: Mapping[str, float]) -> str:
    """Metrics on one line: shares as percentages."""
    return "  ".join(
        f"{name} {100 * value:.1f} %" for name, value in found.items() if "top1" in name
    )


if __name__ == "__main__":
    sys.exit(exits.run(main))
