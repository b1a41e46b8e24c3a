"""A run beside others of the same budget, and beside a probe of the run that it began from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from maskmim import files
from maskmim.checkpoints.workdir import load_config
from maskmim.config.load import override
from maskmim.config.parse import ConfigError
from maskmim.evals import report
from maskmim.evals.run import RESULTS, UNTRAINED
from maskmim.reporting.metrics_file import OURS, flat_metrics
from maskmim.runtime import processes

KEY = "compare"
COMPARISON = "comparison"
ACCURACY, PROBE = "label_accuracy/", "linear"
# Where a number differs from another by chance alone, which one run does not show.
CAVEAT = "Each row is one run; repeat with other values of config.seed before trusting a difference"


class Row(NamedTuple):
    """A line of the comparison: what it is, and the top-1 accuracy of each set of labels."""

    title: str
    top1: dict[str, float]


def compared_runs(config: ConfigDict) -> dict[str, ConfigDict]:
    """Return the configs of the runs that `config.compare` names, by name; {} without that section.

    Each is the config itself with the overrides that stand there, and without the section.
    Raises ConfigError for a wrong override.
    """
    if KEY not in config:
        return {}
    alone = config.copy_and_resolve_references()
    with alone.unlocked():
        del alone[KEY]
    return {name: override(alone, texts) for name, texts in config[KEY].items()}


def finish_comparison(config: ConfigDict, workdir: Path) -> None:
    """Print the table of a run and those that it is compared with, and add it to its results.json.

    All runs are complete, those that `config.compare` names in folders of their names. The rows are
    shares of right test images of each run's own classifier, and those of the linear probe in
    results.json of the run that this one began from.
    """
    if not processes.is_main():
        return
    results = _results(workdir)
    begun = config.begin.workdir or config.begin.file
    title = f"fine-tuned from {Path(begun).name}" if begun else "this run"
    rows = [Row(title, _accuracies(results))]
    for name in config[KEY]:
        rows.append(Row(name.replace("_", " "), _accuracies(_results(workdir / name))))
    probed, remark = _probe_rows(config, tuple(rows[0].top1))
    rows += probed
    results[COMPARISON] = {
        "top1": {row.title: row.top1 for row in rows},
        "remark": remark,
        "units": "shares of right test images in [0, 1]",
    }
    files.write_atomic(workdir / RESULTS, report.as_json(results))
    processes.print_once("\n" + comparison_table(rows, remark))


def stored_comparison(results: Mapping[str, Any]) -> str:
    """Return the rows that stand in the results of a run as a table; '' for a run without."""
    stored = results.get(COMPARISON)
    if not stored:
        return ""
    rows = [Row(title, top1) for title, top1 in stored["top1"].items()]
    return comparison_table(rows, "")


def comparison_table(rows: list[Row], remark: str) -> str:
    """Return rows as text: titles by sets of labels, in percent; '-' where there is no number."""
    sets = list(dict.fromkeys(name for row in rows for name in row.top1))
    width = max(len(row.title) for row in rows) + 2
    lines = ["Top-1 accuracy in percent, on test images", ""]
    lines.append(" " * width + "".join(f"{name:>12}" for name in sets))
    for row in rows:
        cells = (f"{100 * row.top1[name]:.1f}" if name in row.top1 else "-" for name in sets)
        lines.append(f"{row.title:<{width}}" + "".join(f"{cell:>12}" for cell in cells))
    for sentence in filter(None, (f"{CAVEAT}.", remark)):
        lines += ["", *report.wrapped(sentence)]
    return "\n".join(lines)


def _results(workdir: Path) -> dict[str, Any]:
    """Return results.json of a run, {} where there is none that can be read."""
    try:
        found = json.loads((workdir / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _accuracies(results: Mapping[str, Any]) -> dict[str, float]:
    """Return by set of labels how often a run's own classifier is right."""
    values = flat_metrics(results).items()
    return {
        name.removeprefix(ACCURACY): value
        for name, value in values
        if name.startswith(ACCURACY) and name.count("/") == 1 and value is not None
    }


def _probe_rows(config: ConfigDict, sets: tuple[str, ...]) -> tuple[list[Row], str]:
    """Return the rows of the linear probe of the run that a run began from; why there are none."""
    run = config.begin.workdir
    if not run:
        return [], ""
    source = Path(run).expanduser()
    try:
        same = _same_data(load_config(source), config)
    except ConfigError as error:
        return [], f"No linear probe: {error}."
    if not same:
        return [], f"No linear probe: {run} is evaluated on other images than this run."
    results = _results(source)
    rows = list(_probes_of(results, f"{source.name}, step {results.get('step')}", sets))
    if rows:
        return rows, ""
    return [], (
        f"No linear probe of {', '.join(sets)} in {source / RESULTS}: add linear_probe to its "
        "evals.at_end, or run python -m maskmim.evaluate and compare by hand."
    )


def _same_data(one: ConfigDict, other: ConfigDict) -> bool:
    """Return whether two runs are evaluated on the same images."""
    return all(one.evals[key] == other.evals[key] for key in ("train", "test"))


def _probes_of(results: Mapping[str, Any], name: str, sets: tuple[str, ...]) -> Iterator[Row]:
    encoders = results.get("probes", {}).get("encoders", {})
    titles = {
        OURS: f"linear probe of {name}",
        UNTRAINED: f"linear probe of a {UNTRAINED} of its network",
    }
    for encoder, title in titles.items():
        metrics = encoders.get(encoder, {}).get("metrics", {})
        found = {each: metrics.get(f"{PROBE}/{each}/{report.TOP1}") for each in sets}
        top1 = {each: value for each, value in found.items() if value is not None}
        if top1:
            yield Row(title, top1)
