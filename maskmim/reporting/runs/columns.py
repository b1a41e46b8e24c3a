"""Columns of a table of runs: which there are, their values, and how runs are sorted by one."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from maskmim.config.serialize import leaves
from maskmim.reporting.runs.summary import RunSummary

FIRST = ("name", "method", "step", "state", "loss")
# Evaluations in the order in which a table has room for them: words of their names.
ORDER = ("knn", "linear", "held_out", "effective_rank", "psnr")
# Words of the names of numbers that are better when they are lower.
ERRORS = ("loss", "mse", "error")


def value_of(run: RunSummary, column: str) -> Any:
    """Return a run's value of a column, None where it has none.

    column: of FIRST, the name of an evaluation, a metric of training such as 'grad_norm', or a key
            of the config; of a key with a brick its function's name.
    """
    if column in FIRST and column != "method":
        return getattr(run, column)
    if column in run.evaluated:
        return run.evaluated[column]
    logged = last_logged(run, column)
    return config_value(run, column) if logged is None else logged


def last_logged(run: RunSummary, metric: str) -> float | None:
    """Return the last value of a metric in metrics.jsonl, None without any."""
    found = next((row[metric] for row in reversed(run.rows) if metric in row), None)
    return found if isinstance(found, int | float) else None


def config_value(run: RunSummary, key: str) -> Any:
    """Return a config value, None where there is none; of a function the last part of its path."""
    values = dict(leaves(run.config))
    if key in values and key != "method":
        return values[key]
    function = values.get(key, values.get(f"{key}.brick"))
    return function.rpartition(".")[2] if isinstance(function, str) else function


def evaluations(runs: Sequence[RunSummary]) -> list[str]:
    """Return the names of all evaluations: accuracies first, then by ORDER and how many have it."""
    counts = Counter(name for run in runs for name in run.evaluated)

    def rank(name: str) -> tuple:
        place = next((i for i, word in enumerate(ORDER) if word in name), len(ORDER))
        return not name.endswith("top1"), place, -counts[name], name

    return sorted(counts, key=rank)


def unknown(runs: Sequence[RunSummary], columns: Sequence[str]) -> list[str]:
    """Return a sentence for each column that no run has a value of, naming the nearest."""
    lacking = [c for c in columns if all(value_of(run, c) is None for run in runs)]
    known = {*FIRST, *evaluations(runs)} | {n for run in runs for row in run.rows for n in row}
    known |= {key for run in runs for key in _keys(run.config)}
    sentences = []
    for column in lacking:
        near = difflib.get_close_matches(column, known - {*lacking}, 2, 0.6)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        sentences.append(f"no run has {column}{hint}")
    return sentences


def _keys(config: ConfigDict) -> set[str]:
    return {path.removesuffix(".brick") for path, _ in leaves(config)}


def sort_runs(
    runs: Sequence[RunSummary], column: str, *, reverse: bool = False
) -> list[RunSummary]:
    """Return runs sorted by a column; those without a value, or with NaN, stand last.

    Of an evaluation the best first, of anything else the lowest first, then by name; `reverse`
    turns that round.
    """
    is_score = any(column in run.evaluated for run in runs)
    descending = reverse != (is_score and not any(word in column for word in ERRORS))
    ordered = sorted(runs, key=lambda run: run.name)
    have = [run for run in ordered if _is_there(value_of(run, column))]
    lack = [run for run in ordered if not _is_there(value_of(run, column))]
    return sorted(have, key=lambda run: _key(value_of(run, column)), reverse=descending) + lack


def _is_there(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _key(value: Any) -> tuple:
    """Return what sorts numbers before texts."""
    if isinstance(value, int | float):
        return 0, value, ""
    return 1, 0, str(value)
