"""The results of an evaluation as text for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maskmim.errors import count_of
from maskmim.evals import report
from maskmim.evals.failures import RECONSTRUCTION

# Errors of evals.reconstruction, and what is guessed for hidden patches.
GUESSES = {
    "mse": "prediction",
    "mse_own_mean": "each hidden patch's own mean",
    "mse_mean_visible": "mean of the visible patches",
    "mse_nearest_visible": "copy of the nearest visible patch",
}
CLASSES = {"accuracy": "prediction"}


def results_table(results: Mapping[str, Any]) -> str:
    """Return the results as text for people."""
    lines = [_subject(results)]
    mean_errors = results.get("reconstruction", {})
    lines += _error_lines("Squared error of hidden pixels, in [0, 1]", mean_errors, GUESSES)
    lines += _error_lines("Share of hidden classes that are predicted right", mean_errors, CLASSES)
    if "probes" in results:
        lines += ["", report.probe_table(results["probes"])]
    skipped = results.get("skipped", {})
    if isinstance(skipped, str):  # of earlier versions
        lines += ["", skipped]
    else:
        lines += report.reason_lines(skipped, "skipped")
    if "measures" in results:
        lines += report.measure_lines(results["measures"])
    for sentence in results.get("unreadable", ()):
        lines += ["", *report.wrapped(sentence)]
    shown = results["measures"]["failed"] if "measures" in results else {}
    for name, why in results.get("failed", {}).items():
        if name not in shown:
            lines += report.reason_lines({name: why}, "failed")
    return "\n".join(lines)


def _subject(results: Mapping[str, Any]) -> str:
    """Return what the results are of: a step of a run, or the weights of a file."""
    if weights := results.get("weights"):
        return f"{weights['file']} ({weights['layout']}), inputs of {weights['input']}"
    steps, images = count_of(results["step"], "step"), count_of(results["images_seen"], "image")
    return f"After {steps} ({images})"


def _error_lines(
    heading: str, mean_errors: Mapping[str, float | None], labels: Mapping[str, str]
) -> list[str]:
    """Return the errors of reconstruction that have a label, stream by stream where it is named."""
    rows = []
    for prefix in dict.fromkeys(name.rpartition("/")[0] for name in mean_errors):
        stream = prefix.removeprefix(RECONSTRUCTION).removeprefix("/")
        known = {key: label for key, label in labels.items() if f"{prefix}/{key}" in mean_errors}
        for key, label in known.items():
            text = f"{stream}: {label}" if stream else label
            rows.append((text, _shown(mean_errors[f"{prefix}/{key}"])))
    width = max([44, *(len(text) + 1 for text, _ in rows)])
    return ["", heading, "", *(f"{text:<{width}}{value}" for text, value in rows)] if rows else []


def _shown(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"
