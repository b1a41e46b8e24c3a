"""What a work directory says about its run, read from small files while it may be training."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ml_collections import ConfigDict

from maskmim.config.serialize import from_json, leaves
from maskmim.errors import first_line
from maskmim.reporting.metrics_file import flat_metrics, read_metrics
from maskmim.runtime import workdir_lock

CONFIG, METRICS, RESULTS, CHECKPOINTS = (
    "config.json",
    "metrics.jsonl",
    "results.json",
    "checkpoints",
)
# The encoder of results.json that the run trained; the others are baselines.
TRAINING, FINISHED, UNFINISHED = "training", "finished", "unfinished"
UNEVALUATED, FAILED, DAMAGED = "not evaluated", "eval failed", "damaged"

Read = TypeVar("Read")


class RunSummary(NamedTuple):
    """A run in short.

    config:    as it is stored, not upgraded; empty where it cannot be read.
    rows:      of metrics.jsonl.
    step:      the last one that a file tells of, 0 without any.
    total:     steps of the whole training; None before the first checkpoint.
    state:     TRAINING while a process holds the work directory, else DAMAGED where there are
               problems, FINISHED, UNFINISHED, UNEVALUATED (all steps are done), or FAILED (an
               evaluation at the end).
    loss:      the last one logged, NaN where it was not finite, None without any.
    evaluated: the newest number of every evaluation, {name: value}.
    problems:  a sentence for each file that cannot be read.
    """

    name: str
    workdir: Path
    config: ConfigDict
    rows: list[dict[str, Any]]
    step: int
    total: int | None
    state: str
    loss: float | None
    evaluated: dict[str, float]
    problems: list[str]


def is_run(folder: Path) -> bool:
    """Return whether a training has written into a folder; exported weights have a config too."""
    return any((folder / name).exists() for name in (METRICS, RESULTS, workdir_lock.NAME))


def read_run(workdir: Path, name: str) -> RunSummary:
    """Return the summary of a run; damaged files become sentences, none is written."""
    problems: list[str] = []

    def attempt(file: str, read: Callable[[Path], Read], otherwise: Read) -> Read:
        try:
            return read(workdir / file)
        except FileNotFoundError:
            return otherwise
        except OSError as error:
            problems.append(f"{file} cannot be read ({error.strerror or first_line(error)})")
        except ValueError:  # ConfigError too
            problems.append(f"{file} is damaged")
        return otherwise

    config = attempt(CONFIG, _read_config, ConfigDict())
    rows = attempt(METRICS, read_metrics, [])
    results = attempt(RESULTS, _read_results, {})
    origin = attempt(CHECKPOINTS, _read_origin, {})
    if not config and not problems:
        problems.append(f"{CONFIG} is missing")
    steps = [row["step"] for row in rows[-1:]] + [part.get("step", 0) for part in (results, origin)]
    step, total = max(steps), _total(config, origin)
    losses = [row["loss"] for row in rows if "loss" in row]
    return RunSummary(
        name=name,
        workdir=workdir,
        config=config,
        rows=rows,
        step=step,
        total=total,
        state=_state(workdir, results, step, total, bool(problems)),
        loss=_number(losses[-1]) if losses else None,
        evaluated=_evaluated(rows, results),
        problems=problems,
    )


def _read_config(path: Path) -> ConfigDict:
    return from_json(path.read_text(encoding="utf-8"))


def _read_results(path: Path) -> dict[str, Any]:
    results = json.loads(path.read_text(encoding="utf-8"))
    if not (isinstance(results, dict) and isinstance(results.get("step"), int)):
        raise ValueError("it holds no results of a run")
    return results


def _read_origin(folder: Path) -> dict[str, Any]:
    """Return what the newest checkpoint records of its data, {} without one."""
    steps = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    for step in reversed(steps):
        path = folder / str(step) / "data" / "metadata"
        # The training may have removed it meanwhile, or set a damaged one aside.
        with contextlib.suppress(FileNotFoundError, ValueError):
            return {**json.loads(path.read_text(encoding="utf-8")), "step": step}
    return {}


def _total(config: ConfigDict, origin: Mapping[str, Any]) -> int | None:
    """Return the length of a training as `training.build.span_of` counts it, None if unknown."""
    values = {"data.repeats": 1, **dict(leaves(config))}
    try:
        images = values["train.epochs"] * origin["examples"] * values["data.repeats"]
        return max(1, round(images / values["train.batch_size"]))
    except (KeyError, TypeError, ZeroDivisionError):
        return None


def _state(
    workdir: Path, results: Mapping[str, Any], step: int, total: int | None, has_problems: bool
) -> str:
    if _is_held(workdir / workdir_lock.NAME):
        return TRAINING
    if has_problems:
        return DAMAGED
    is_over = total is not None and step >= total
    if results and results["step"] == step and (is_over or total is None):
        return FAILED if "failed" in results else FINISHED
    return UNEVALUATED if is_over else UNFINISHED


def _is_held(lock: Path) -> bool:
    """Return whether a process holds a work directory; of one elsewhere, whether it seems to."""
    seen = workdir_lock.look(lock)
    holder = workdir_lock.parse_holder(seen.text) if seen else None
    if seen is None or holder is None:
        return False
    running = workdir_lock.is_running(holder)
    age = time.time() - seen.changed / 1e9
    return age < workdir_lock.PATIENCE_SECONDS if running is None else running


def _evaluated(rows: list[dict[str, Any]], results: Mapping[str, Any]) -> dict[str, float]:
    """Return the newest number of every evaluation; lines of training have a learning rate."""
    newest: dict[str, tuple[int, float]] = {}
    for row in rows:
        if "lr" not in row:
            newest |= {name: (row["step"], _number(row[name])) for name in row if name != "step"}
    for name, value in flat_metrics(results).items():
        if name not in newest or newest[name][0] <= results["step"]:
            newest[name] = results["step"], _number(value)
    return {name: value for name, (_, value) in newest.items() if value is not None}


def _number(value: Any) -> float | None:
    """Return a number; NaN for null, which stands for one that was not finite; None for others."""
    if value is None:
        return math.nan
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
