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
KINDS = ("top1", "top5", "standard_errors")
# By what stands behind the set of labels in the name of a metric of `label_accuracy`.
OF_METRIC = {"": "top1", "top5": "top5", "standard_error": "standard_errors"}
CELL = 14
# Where a number differs from another by chance alone, which one run does not show.
CAVEAT = "Each row is one run; repeat with other values of config.seed before trusting a difference"


class Row(NamedTuple):
    """A line of the comparison: what it is, and shares of right test images by set of labels.

    standard_errors: of top1, over the test images.
    """

    title: str
    top1: dict[str, float]
    top5: dict[str, float]
    standard_errors: dict[str, float]


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
    return {name: _changed(alone, name, texts) for name, texts in config[KEY].items()}


def _changed(config: ConfigDict, name: str, texts: tuple[str, ...]) -> ConfigDict:
    try:
        return override(config, texts)
    except ConfigError as error:
        raise ConfigError(
            f"the run to compare with, compare.{name}, changes a key that this run has not: "
            f"{error}. Leave it out (finetune:...,alone), or set compare.{name} to other changes"
        ) from error


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
    rows = [_own_row(title, results)]
    for name in config[KEY]:
        rows.append(_own_row(name.replace("_", " "), _results(workdir / name)))
    probed, remark = _probe_rows(config, tuple(rows[0].top1))
    rows += probed
    results[COMPARISON] = {
        **{kind: {row.title: getattr(row, kind) for row in rows} for kind in KINDS},
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
    # Results of earlier versions have top1 alone.
    kinds = [stored.get(kind, {}) for kind in KINDS]
    rows = [Row(title, *(each.get(title, {}) for each in kinds)) for title in stored["top1"]]
    return comparison_table(rows, "")


def comparison_table(rows: list[Row], remark: str) -> str:
    """Return rows as text: titles by sets of labels, in percent; '-' where there is no number."""
    sets = list(dict.fromkeys(name for row in rows for name in row.top1))
    columns = [(name, "top1") for name in sets]
    columns += [(name, "top5") for name in sets if any(name in row.top5 for row in rows)]
    width = max(len(row.title) for row in rows) + 2
    heads = (name if kind == "top1" else f"{name}, top-5" for name, kind in columns)
    lines = ["Accuracy in percent, on test images", ""]
    lines.append(" " * width + "".join(f"{head:>{CELL}}" for head in heads))
    for row in rows:
        cells = (f"{_cell(row, name, kind):>{CELL}}" for name, kind in columns)
        lines.append(f"{row.title:<{width}}" + "".join(cells))
    for sentence in filter(None, (f"{CAVEAT}.", remark)):
        lines += ["", *report.wrapped(sentence)]
    return "\n".join(lines)


def _cell(row: Row, name: str, kind: str) -> str:
    """Return a number in percent with its standard error, if there is one."""
    share = getattr(row, kind)
    if name not in share:
        return "-"
    known = kind == "top1" and name in row.standard_errors
    error = row.standard_errors[name] if known else None
    return f"{100 * share[name]:.1f}" + (f" ± {100 * error:.1f}" if error is not None else "")


def _results(workdir: Path) -> dict[str, Any]:
    """Return results.json of a run, {} where there is none that can be read."""
    try:
        found = json.loads((workdir / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _own_row(title: str, results: Mapping[str, Any]) -> Row:
    """Return how often a run's own classifier is right, by set of labels."""
    found: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
    for name, value in flat_metrics(results).items():
        if name.startswith(ACCURACY) and value is not None:
            labels, _, kind = name.removeprefix(ACCURACY).partition("/")
            if kind in OF_METRIC:
                found[OF_METRIC[kind]][labels] = value
    return Row(title, **found)


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
    probes = results.get("probes", {})
    images = probes.get("protocol", {}).get("test_images")
    titles = {OURS: name, UNTRAINED: f"a {UNTRAINED} of its network"}
    for encoder, found in probes.get("encoders", {}).items():
        title = f"linear probe of {titles.get(encoder, encoder)}"
        metrics = found.get("metrics", {})
        shares = {each: metrics.get(f"{PROBE}/{each}/{report.TOP1}") for each in sets}
        top1 = {each: value for each, value in shares.items() if value is not None}
        errors = {each: report.standard_error(top1[each], images) for each in top1 if images}
        if top1:
            yield Row(title, top1, {}, errors)
