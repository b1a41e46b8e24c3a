"""The results of probes as a text table and as the content of results.json."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maskmim.errors import count_of

Results = dict[str, Any]

TITLES = {
    "knn": "kNN",
    "linear": "linear probe",
    "linear_sgd": "linear, SGD",
    "logistic": "logistic",
}
WIDTH = 80
CELL = 13
TOP1 = "top1"
SPREAD = "spread"


def standard_error(share: float, images: int) -> float:
    """Return the standard error of a share of correct images: sqrt(p (1 - p) / n)."""
    return math.sqrt(max(share * (1.0 - share), 0.0) / images)


def build_results(
    metrics: Mapping[str, Mapping[str, float]],
    *,
    dimensions: Mapping[str, int],
    classes: Mapping[str, int],
    train_images: int,
    test_images: int,
    evaluators: Mapping[str, Mapping[str, Any]],
    skipped: Mapping[str, str],
    failed: Mapping[str, str],
    seconds: Mapping[str, float],
) -> Results:
    """Return the content of results.json, metrics and protocol, as plain JSON values.

    metrics:    {encoder: {'knn/fine/top1': share in [0, 1], ...}}.
    dimensions: {encoder: width of its features}.
    classes:    {label set: number of classes}.
    evaluators: {evaluator: {'brick': dotted path, 'keywords': hyperparameters}}.
    skipped:    {evaluator: sentence saying why it did not run}.
    failed:     {evaluator: sentence saying why it did not end}.
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
        "failed": dict(failed),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }


def as_json(results: Results) -> str:
    """Return the text of results.json; a number that is not finite becomes null."""
    return json.dumps(_finite(results), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def probe_table(results: Results) -> str:
    """Return the results as a text table of at most 80 columns: encoders by evaluators.

    Every column is the top-1 of an evaluator on a label set, in the order of the evaluators, label
    sets with fewer classes first; columns beyond the width continue in another block. Each number
    is a percentage with one standard error; of draws with their standard deviation. Lists skipped
    evaluators below with their reasons.
    """
    protocol = results["protocol"]
    columns = _columns(results)
    lines = []
    if columns:
        lines += [_heading(protocol), ""]
        for block in _split_columns(columns, _name_width(results)):
            lines += [*_block_lines(results, block), ""]
        lines += [
            "± is one standard error over the test images; it does not include the spread",
            "over training seeds.",
        ]
        if any(name.endswith(f"/{SPREAD}") for name in _metric_names(results)):
            lines += ["Of few-shot columns it is the deviation over draws of training images."]
    for name, reason in results["skipped"].items():
        lines += textwrap.wrap(f"{name} skipped: {reason}", WIDTH)
    return "\n".join(lines)


def measure_lines(results: Results) -> list[str]:
    """Return what measures found, as lines of at most 80 columns: `Measurements.as_results`."""
    lines = []
    if table := results.get("table"):  # results of earlier versions have none
        lines += ["", "Measures, by metric; docs/evaluation.md explains them", ""]
        lines += _text_rows(table)
    for what in ("skipped", "failed"):
        lines += reason_lines(results[what], what)
    for warning in results["warnings"]:
        lines += ["", *wrapped(f"warning: {warning}")]
    return lines


def reason_lines(reasons: Mapping[str, str], what: str) -> list[str]:
    """Return a sentence for each of {evaluation: why}, as wrapped lines; what: 'skipped'.

    Evaluations of one reason share a sentence.
    """
    names: dict[str, list[str]] = {}
    for name, why in reasons.items():
        names.setdefault(why, []).append(name)
    return [
        line
        for why, alike in names.items()
        for line in ("", *wrapped(f"{', '.join(alike)} {what}: {why}"))
    ]


def wrapped(sentence: str) -> list[str]:
    """Return a sentence as lines of at most 80 columns; paths and numbers stay whole."""
    return textwrap.wrap(sentence, WIDTH, break_on_hyphens=False, break_long_words=False)


def _text_rows(table: Mapping[str, str]) -> Iterator[str]:
    """Yield rows of a name and a text, which is wrapped; a long name has a line of its own."""
    width = min(max(map(len, table)), WIDTH // 2) + 2
    for name, text in table.items():
        head = f"{name:<{width}}"
        if len(name) > width - 2:
            yield name
            head = " " * width
        indent = " " * width
        yield from textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=indent)


def _columns(results: Results) -> list[tuple[str, str]]:
    """Return (evaluator, label set) of every top-1 that any encoder has."""
    classes = results["protocol"]["classes"]
    columns: list[tuple[str, str]] = []
    for encoder in results["encoders"].values():
        for name in encoder["metrics"]:
            evaluator, _, rest = name.partition("/")
            label_set, _, kind = rest.rpartition("/")
            if kind == TOP1 and (evaluator, label_set) not in columns:
                columns.append((evaluator, label_set))
    order = list(dict.fromkeys(evaluator for evaluator, _ in columns))
    return sorted(columns, key=lambda c: (order.index(c[0]), classes[c[1]], c[1]))


def _metric_names(results: Results) -> Iterator[str]:
    for encoder in results["encoders"].values():
        yield from encoder["metrics"]


def _heading(protocol: Mapping[str, Any]) -> str:
    images = count_of(protocol["test_images"], "test image")
    return f"Top-1 accuracy in percent, {images} ({protocol['train_images']:,} for training)"


def _name_width(results: Results) -> int:
    return max(len(name) for name in results["encoders"]) + 2


def _split_columns(
    columns: Sequence[tuple[str, str]], names: int
) -> Iterator[list[tuple[str, str]]]:
    fit = max(1, (WIDTH - names) // CELL)
    for start in range(0, len(columns), fit):
        yield list(columns[start : start + fit])


def _block_lines(results: Results, columns: Sequence[tuple[str, str]]) -> Iterator[str]:
    names = _name_width(results)
    classes = results["protocol"]["classes"]
    rule = "-" * (names + CELL * len(columns))
    yield " " * names + "".join(_evaluator_titles(columns))
    yield " " * names + "".join(f"{label_set:>{CELL}}" for _, label_set in columns)
    counts = (count_of(classes[label_set], "class", "classes") for _, label_set in columns)
    yield " " * names + "".join(f"{count:>{CELL}}" for count in counts)
    yield rule
    images = results["protocol"]["test_images"]
    for name, encoder in results["encoders"].items():
        cells = (_format_cell(encoder["metrics"], column, images) for column in columns)
        yield f"{name:<{names}}" + "".join(f"{cell:>{CELL}}" for cell in cells)
    yield rule


def _evaluator_titles(columns: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield the evaluators' titles, each centred over its columns."""
    for evaluator in dict.fromkeys(evaluator for evaluator, _ in columns):
        width = CELL * sum(1 for other, _ in columns if other == evaluator)
        heading = f" {_title(evaluator)} "
        yield f"{heading:-^{width - 2}}".rjust(width)


def _title(evaluator: str) -> str:
    """Return what the table calls an evaluator.

    few_shot_5 is 5-shot, few_shot_1_percent 1 % of labels.
    """
    setting = evaluator.removeprefix("few_shot_")
    if setting == evaluator:
        return TITLES.get(evaluator, evaluator)
    percent = setting.removesuffix("_percent")
    return f"{setting}-shot" if percent == setting else f"{percent} % of labels"


def _format_cell(metrics: Mapping[str, float], column: tuple[str, str], images: int) -> str:
    share, spread = (metrics.get("/".join((*column, kind))) for kind in (TOP1, SPREAD))
    if share is None:
        return "-"
    error = standard_error(share, images) if spread is None else spread
    return f"{100 * share:.1f} ± {100 * error:.1f}"
