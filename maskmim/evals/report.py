"""The results of probes as a table for people and as a structure for results.json."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Results = dict[str, Any]

TITLES = {"knn": "kNN", "linear": "linear probe", "linear_sgd": "linear, SGD"}
WIDTH = 80
CELL = 13
TOP1 = "top1"


def standard_error(share: float, images: int) -> float:
    """One standard error of a share of correct images: sqrt(p (1 - p) / n)."""
    return math.sqrt(max(share * (1.0 - share), 0.0) / images)


def results_structure(
    metrics: Mapping[str, Mapping[str, float]],
    *,
    dimensions: Mapping[str, int],
    classes: Mapping[str, int],
    train_images: int,
    test_images: int,
    evaluators: Mapping[str, Mapping[str, Any]],
    skipped: Mapping[str, str],
    seconds: Mapping[str, float],
) -> Results:
    """What results.json holds: the metrics and the facts of the protocol, as plain JSON values.

    metrics:    {encoder: {'knn/fine/top1': share in [0, 1], ...}}.
    dimensions: {encoder: width of its features}.
    classes:    {label set: number of classes}.
    evaluators: {evaluator: {'brick': dotted path, 'keywords': hyperparameters}}.
    skipped:    {evaluator: sentence why it was not measured}.
    seconds:    {part: wall time}.
    """
    return {
        "encoders": {
            name: {"dimensions": dimensions[name], "metrics": dict(values)}
            for name, values in metrics.items()
        },
        "protocol": {
            "train_images": train_images,
            "test_images": test_images,
            "classes": dict(classes),
            "evaluators": {name: dict(facts) for name, facts in evaluators.items()},
            "units": "top1 and held_out are shares in [0, 1]",
        },
        "skipped": dict(skipped),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }


def as_json(results: Results) -> str:
    """The text of results.json; ValueError for a number that is not finite."""
    return json.dumps(results, indent=2, allow_nan=False) + "\n"


def table(results: Results) -> str:
    """The results as plain text of at most 80 columns: a row per encoder, a column per top-1.

    Columns come in the order of the evaluators, label sets with fewer classes first; what does not
    fit into the width continues in a further block. Each number is a percentage with one standard
    error. Evaluators that were skipped are named below with their reason.
    """
    protocol = results["protocol"]
    columns = _columns(results)
    lines = []
    if columns:
        lines += [_heading(protocol), ""]
        for block in _blocks(columns, _name_width(results)):
            lines += [*_block(results, block), ""]
        lines += [
            "± is one standard error from the number of test images; the spread over training",
            "seeds is not in it.",
        ]
    for name, reason in results["skipped"].items():
        lines += textwrap.wrap(f"{name} skipped: {reason}", WIDTH)
    return "\n".join(lines) + "\n"


def _columns(results: Results) -> list[tuple[str, str]]:
    """(evaluator, label set) of every top-1 that any encoder has."""
    classes = results["protocol"]["classes"]
    found: list[tuple[str, str]] = []
    for encoder in results["encoders"].values():
        for name in encoder["metrics"]:
            evaluator, _, rest = name.partition("/")
            label_set, _, kind = rest.rpartition("/")
            if kind == TOP1 and (evaluator, label_set) not in found:
                found.append((evaluator, label_set))
    order = list(dict.fromkeys(evaluator for evaluator, _ in found))
    return sorted(found, key=lambda c: (order.index(c[0]), classes[c[1]], c[1]))


def _heading(protocol: Mapping[str, Any]) -> str:
    return (
        f"Top-1 accuracy in percent, {protocol['test_images']:,} test images "
        f"({protocol['train_images']:,} for training)"
    )


def _name_width(results: Results) -> int:
    return max(len(name) for name in results["encoders"]) + 2


def _blocks(columns: Sequence[tuple[str, str]], names: int) -> Iterator[list[tuple[str, str]]]:
    fit = max(1, (WIDTH - names) // CELL)
    for start in range(0, len(columns), fit):
        yield list(columns[start : start + fit])


def _block(results: Results, columns: Sequence[tuple[str, str]]) -> Iterator[str]:
    names = _name_width(results)
    classes = results["protocol"]["classes"]
    rule = "-" * (names + CELL * len(columns))
    yield " " * names + "".join(_spanned(columns))
    yield " " * names + "".join(f"{label_set:>{CELL}}" for _, label_set in columns)
    counts = (f"{classes[label_set]} classes" for _, label_set in columns)
    yield " " * names + "".join(f"{count:>{CELL}}" for count in counts)
    yield rule
    images = results["protocol"]["test_images"]
    for name, encoder in results["encoders"].items():
        cells = (_cell(encoder["metrics"].get("/".join((*c, TOP1))), images) for c in columns)
        yield f"{name:<{names}}" + "".join(f"{cell:>{CELL}}" for cell in cells)
    yield rule


def _spanned(columns: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The evaluators' titles, each over its columns."""
    for evaluator in dict.fromkeys(evaluator for evaluator, _ in columns):
        width = CELL * sum(1 for other, _ in columns if other == evaluator)
        heading = f" {TITLES.get(evaluator, evaluator)} "
        yield f"{heading:-^{width - 2}}".rjust(width)


def _cell(share: float | None, images: int) -> str:
    if share is None:
        return "-"
    return f"{100 * share:.1f} ± {100 * standard_error(share, images):.1f}"
