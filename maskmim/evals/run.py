"""Evaluates variables: probes, pictures, tables."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from maskmim import files
from maskmim.config.bricks import bind
from maskmim.data.pipeline import eval_batches
from maskmim.data.records import DataError, Records
from maskmim.evals import baselines, report
from maskmim.evals.features import pooled_encoder
from maskmim.evals.method_pictures import draw_reconstruction, draw_sheets
from maskmim.evals.suite import run_probes
from maskmim.files import write_atomic
from maskmim.reporting import loss_curve
from maskmim.reporting.metrics_log import read
from maskmim.runtime import processes
from maskmim.training import sharding
from maskmim.training.build import Assembly, born_sharded
from maskmim.types import Variables

RESULTS = "results.json"


OURS = "this encoder"


# Errors of evals.reconstruction, and what they are the errors of.
GUESSES = {
    "reconstruction/mse": "prediction, patch statistics put back",
    "reconstruction/mse_own_mean": "each hidden patch's own mean",
    "reconstruction/mse_mean_visible": "mean of the visible patches",
    "reconstruction/mse_nearest_visible": "copy of the nearest visible patch",
}


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
    if processes.leads():
        write_atomic(workdir / file, report.as_json(results))
        curve = loss_curve.loss_curve(read(workdir / "metrics.jsonl"))
        files.save_png(workdir / "images" / "loss.png", curve)
    processes.say("\n" + table(results))
    processes.say(f"\n{file}, metrics.jsonl and images/ are in {workdir}")


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
    return probe(config, parts, encoders, probes, say=lambda line: processes.say(f"  {line}"))


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
