"""Evaluates a method: probes beside baselines, reconstruction errors, pictures, the table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from maskmim import files
from maskmim.data.pipeline import eval_batches
from maskmim.data.records import DataError, Records
from maskmim.evals import baselines, report
from maskmim.evals.evaluation import Evaluation
from maskmim.evals.method_pictures import draw_reconstruction, draw_sheets
from maskmim.evals.suite import run_probes
from maskmim.reporting import loss_curve
from maskmim.reporting.metrics_log import read_metrics
from maskmim.runtime import processes

RESULTS = "results.json"
OURS = "this encoder"
# Errors of evals.reconstruction, and what is guessed for hidden patches.
GUESSES = {
    "reconstruction/mse": "prediction, patch statistics put back",
    "reconstruction/mse_own_mean": "each hidden patch's own mean",
    "reconstruction/mse_mean_visible": "mean of the visible patches",
    "reconstruction/mse_nearest_visible": "copy of the nearest visible patch",
}


def finish(evaluation: Evaluation, names: Sequence[str], *, file: str = RESULTS) -> None:
    """Evaluate, write the results, the last pictures and the loss curve, and print the table.

    names: 'reconstruction' and probes of `config.evals.probes`. file: in the work directory.
    """
    config, workdir, parts, _, step, _ = evaluation
    started = time.perf_counter()
    results: dict[str, Any] = {"step": step, "images_seen": step * config.train.batch_size}
    probes = [name for name in names if name != "reconstruction"]
    if "reconstruction" in names and "reconstruct" in parts.method.apply:
        results["reconstruction"] = draw_reconstruction(evaluation).errors
    draw_sheets(evaluation)
    if probes and parts.evals.train and parts.evals.test:
        results["probes"] = compare(evaluation, probes)
    elif probes:
        results["skipped"] = (
            f"{', '.join(probes)} skipped: evals.train and evals.test name no labelled images"
        )
    results["seconds"] = round(time.perf_counter() - started, 1)
    if processes.is_main():
        files.write_atomic(workdir / file, report.as_json(results))
        curve = loss_curve.draw_loss_curve(read_metrics(workdir / "metrics.jsonl"))
        files.save_png(workdir / "images" / "loss.png", curve)
    processes.print_once("\n" + results_table(results))
    processes.print_once(f"\n{file}, metrics.jsonl and images/ are in {workdir}")


def compare(evaluation: Evaluation, probes: Sequence[str]) -> dict[str, Any]:
    """Probe this encoder beside raw pixels, colours and the encoder before training."""
    encoders = {
        **baselines.untrained_encoders(evaluation.parts.spec),
        "random init": evaluation.untrained_encoder,
        OURS: evaluation.encoder,
    }
    return probe(evaluation, encoders, probes, say=lambda line: processes.print_once(f"  {line}"))


def probe_during_training(evaluation: Evaluation) -> dict[str, float]:
    """Probe this encoder alone, as `config.evals.during` names; return {metric: value}."""
    encoders = {OURS: evaluation.encoder}
    probes = evaluation.config.evals.during
    results = probe(evaluation, encoders, probes, say=lambda line: None)
    return dict(results["encoders"][OURS]["metrics"])


def probe(
    evaluation: Evaluation,
    encoders: Mapping[str, Callable],
    probes: Sequence[str],
    *,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Run the named probes of the config on the features of some encoders."""
    config, parts = evaluation.config, evaluation.parts
    train, test = parts.evals.train(), parts.evals.test()
    check_classes(train, test)

    def batches(records: Any) -> Callable:
        return lambda: eval_batches(
            records,
            spec=parts.spec,
            batch_size=config.evals.batch_size,
            decode=parts.evals.decode,
            transform=parts.evals.transform,
        )

    return run_probes(
        encoders,
        batches(train),
        batches(test),
        train.labels,
        {name: parts.evals.probes[name] for name in probes},
        stream=parts.spec.stream,
        say=say,
    )


def check_classes(train: Records, test: Records) -> None:
    """Raise DataError unless both have the same label sets with the same classes, in order."""
    if dict(train.labels) == dict(test.labels):
        return
    names = train.labels.keys() | test.labels.keys()
    differing = sorted(
        name
        for name in names
        if not (name in train.labels and train.labels[name] == test.labels.get(name))
    )
    raise DataError(
        f"evals.train and evals.test have other classes for the labels {', '.join(differing)}: "
        "give both the same classes in the same order, or an index would mean another class"
    )


def results_table(results: Mapping[str, Any]) -> str:
    """Return the results as text for people."""
    lines = [f"After {results['step']} steps ({results['images_seen']:,} images)"]
    mean_errors = results.get("reconstruction", {})
    if mean_errors:
        lines += ["", "Squared error of hidden pixels, in [0, 1]", ""]
        lines += [f"{label:<44}{mean_errors[name]:.4f}" for name, label in GUESSES.items()]
    if "probes" in results:
        lines += ["", report.probe_table(results["probes"])]
    if "skipped" in results:
        lines += ["", results["skipped"]]
    return "\n".join(lines)


def stored_step(workdir: Path) -> int | None:
    """Return the step that results.json is of; None where there is no such file."""
    path = workdir / RESULTS
    return json.loads(path.read_text(encoding="utf-8"))["step"] if path.exists() else None


def stored_table(workdir: Path) -> str:
    """Return the table of a finished run."""
    return results_table(json.loads((workdir / RESULTS).read_text(encoding="utf-8")))


def metrics_line(metrics: Mapping[str, float]) -> str:
    """Return accuracies on one line, in percent."""
    return "  ".join(
        f"{name} {100 * value:.1f} %" for name, value in metrics.items() if "top1" in name
    )
