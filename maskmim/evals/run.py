"""Evaluates a method: probes beside baselines, reconstruction errors, pictures, the table."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from maskmim import errors, files
from maskmim.data.class_lists import check_classes
from maskmim.data.pipeline import eval_batches
from maskmim.errors import count_of
from maskmim.evals import baselines, report
from maskmim.evals.evaluation import Evaluation
from maskmim.evals.failures import PICTURES, describe, noted
from maskmim.evals.method_pictures import draw_reconstruction, draw_sheets
from maskmim.evals.suite import run_probes
from maskmim.reporting import loss_curve
from maskmim.runtime import activity, processes

Results = dict[str, Any]
RESULTS = "results.json"
OURS = "this encoder"
# Errors of evals.reconstruction, and what is guessed for hidden patches.
GUESSES = {
    "reconstruction/mse": "prediction, patch statistics put back",
    "reconstruction/mse_own_mean": "each hidden patch's own mean",
    "reconstruction/mse_mean_visible": "mean of the visible patches",
    "reconstruction/mse_nearest_visible": "copy of the nearest visible patch",
}


class Unwritten(errors.UserError):
    """Results that could not be written; their table is printed."""


class Finished(NamedTuple):
    """The results of an evaluation, and what went wrong: an error to raise, None where nothing."""

    results: Results
    error: errors.UserError | None


def finish(
    evaluation: Evaluation,
    names: Sequence[str],
    *,
    file: str = RESULTS,
    rows: Sequence[Mapping[str, Any]] = (),
) -> Finished:
    """Evaluate, write the results, the last pictures and the loss curve, and print the table.

    names: 'reconstruction' and probes of `config.evals.probes`. file: in `evaluation.workdir`.
    rows: of the run's metrics.jsonl, for the loss curve.
    One evaluation that fails leaves the others.
    """
    config, workdir, parts, _, step, _ = evaluation
    started = time.perf_counter()
    results: Results = {"step": step, "images_seen": step * config.train.batch_size}
    failed: dict[str, str] = {}
    probes = [name for name in names if name != "reconstruction"]
    if "reconstruction" in names and "reconstruct" in parts.method.apply:
        what = "measuring the reconstruction of hidden patches"
        with activity.during(what), noted(failed, "reconstruction"):
            results["reconstruction"] = draw_reconstruction(evaluation).errors
    with activity.during("drawing pictures"), noted(failed, PICTURES):
        draw_sheets(evaluation)
    if probes and parts.evals.train and parts.evals.test:
        with noted(failed, *probes):
            results["probes"] = compare(evaluation, probes)
            failed |= results["probes"].pop("failed")
    elif probes:
        results["skipped"] = (
            f"{', '.join(probes)} skipped: evals.train and evals.test name no labelled images"
        )
    results["seconds"] = round(time.perf_counter() - started, 1)
    if failed:
        results["failed"] = failed
    problem = write_results(workdir, file, results, rows) if processes.is_main() else None
    processes.print_once("\n" + results_table(results))
    if problem is not None:
        return Finished(results, problem)
    processes.print_once(f"\n{file} and images/ are in {workdir}")
    return Finished(results, describe(failed, workdir, workdir / file) if failed else None)


def write_results(
    folder: Path, file: str, results: Results, rows: Sequence[Mapping[str, Any]]
) -> Unwritten | None:
    """Write the results and the loss curve; return the error where the results cannot be written.

    The curve is a picture, which must not end anything.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_atomic(folder / file, report.as_json(results))
    except OSError as error:
        problem = Unwritten(
            f"the results could not be written to {folder / file} ({error.strerror or error}); "
            "they are in the table above. python -m maskmim.evaluate --out DIR writes elsewhere"
        )
        problem.exit_code = errors.STORAGE if error.errno in errors.NO_ROOM else errors.USAGE
        return problem
    with contextlib.suppress(OSError):
        files.save_png(folder / "images" / "loss.png", loss_curve.draw_loss_curve(rows))
    return None


def flat_metrics(results: Results) -> dict[str, float]:
    """Return this encoder's metrics and the errors of reconstruction, {name: value}."""
    metrics = dict(results.get("reconstruction", {}))
    if "probes" in results:
        metrics |= results["probes"]["encoders"][OURS]["metrics"]
    return metrics


def compare(evaluation: Evaluation, probes: Sequence[str]) -> dict[str, Any]:
    """Probe this encoder beside raw pixels, colours and the encoder before training."""
    encoders = {
        **baselines.untrained_encoders(evaluation.parts.spec),
        "random init": evaluation.untrained_encoder,
        OURS: evaluation.encoder,
    }
    return probe(evaluation, encoders, probes)


def probe_during_training(evaluation: Evaluation) -> tuple[dict[str, float], dict[str, str]]:
    """Probe this encoder alone, as `config.evals.during` names.

    Returns {metric: value}, and {probe: why} of those that failed.
    """
    encoders = {OURS: evaluation.encoder}
    probes = evaluation.config.evals.during
    results = probe(evaluation, encoders, probes)
    return dict(results["encoders"][OURS]["metrics"]), results["failed"]


def probe(
    evaluation: Evaluation, encoders: Mapping[str, Callable], probes: Sequence[str]
) -> dict[str, Any]:
    """Run the named probes of the config on the features of some encoders."""
    config, parts = evaluation.config, evaluation.parts
    train, test = parts.evals.train(), parts.evals.test()
    check_classes(train, test)

    def batches(records: Any) -> Callable:
        size = config.evals.batch_size
        return lambda: activity.counted(
            eval_batches(
                records,
                spec=parts.spec,
                batch_size=size,
                decode=parts.evals.decode,
                transform=parts.evals.transform,
            ),
            len(records),
            size,
        )

    return run_probes(
        encoders,
        batches(train),
        batches(test),
        train.labels,
        {name: parts.evals.probes[name] for name in probes},
        stream=parts.spec.stream,
    )


def results_table(results: Mapping[str, Any]) -> str:
    """Return the results as text for people."""
    steps, images = count_of(results["step"], "step"), count_of(results["images_seen"], "image")
    lines = [f"After {steps} ({images})"]
    mean_errors = results.get("reconstruction", {})
    if mean_errors:
        lines += ["", "Squared error of hidden pixels, in [0, 1]", ""]
        lines += [f"{label:<44}{_shown(mean_errors[name])}" for name, label in GUESSES.items()]
    if "probes" in results:
        lines += ["", report.probe_table(results["probes"])]
    if "skipped" in results:
        lines += ["", results["skipped"]]
    for name, why in results.get("failed", {}).items():
        lines += ["", f"{name} failed: {why}"]
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def stored_step(workdir: Path) -> int | None:
    """Return the step that results.json is of; None where evaluations are missing or failed."""
    try:
        results = json.loads((workdir / RESULTS).read_text(encoding="utf-8"))
        return None if "failed" in results else results["step"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def stored_table(workdir: Path) -> str:
    """Return the table of a finished run."""
    return results_table(json.loads((workdir / RESULTS).read_text(encoding="utf-8")))


def metrics_line(metrics: Mapping[str, float]) -> str:
    """Return accuracies on one line, in percent."""
    return "  ".join(
        f"{name} {100 * value:.1f} %" for name, value in metrics.items() if "top1" in name
    )
