"""What a loaded model is, in words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from maskmim.config.bricks import bind, method_takes
from maskmim.config.describe import title
from maskmim.inference.loaded import Loaded, sides
from maskmim.reporting.progress import format_rows


def percent(share: float) -> str:
    """Return a share in [0, 1] as text."""
    return f"{100 * share:.1f} %"


# Patterns of numbers of results.json that are worth a line, and how they are shown.
SHOWN: Mapping[str, Callable[[float], str]] = {
    r"/top1$": percent,
    r"^label_accuracy/[^/]+$": percent,
    r"^segmentation/.*/miou$": percent,
    r"^depth/.*/rmse$": "{:.3g}".format,
    r"^shifted/[^/]+$": percent,
    r"/mean_error$": percent,
    r"reconstruction/mse$": "{:.4f}".format,
    r"effective_rank$": "{:.1f}".format,
    r"held_out/loss$": "{:.4f}".format,
}


def short_text(loaded: Loaded) -> str:
    """Return one line about a model, for `repr`."""
    network = title(bind(loaded.config.model)).partition("(")[0].rpartition(".")[2]
    return f"Model({network}, {loaded.stream} {sides(loaded.spec.size)}, {loaded.title})"


def full_text(loaded: Loaded) -> str:
    """Return lines about a model: source, method, networks, inputs, data and results."""
    config, spec = loaded.config, loaded.spec
    inputs = f"{loaded.stream} {sides(spec.shape)}, {sides(loaded.grid)} tokens"
    others = "".join(f"; {name} {sides(each.shape)}" for name, each in sorted(spec.streams.items()))
    rows = [("method", config.method.removeprefix("maskmim.methods.")) if loaded.workdir else None]
    rows += [("input", inputs + others), *loaded.method.net.says]
    if loaded.workdir:
        rows += [*_trained(loaded), *_results(loaded)]
    rows += [("note", remark) for remark in loaded.remarks]
    return format_rows(loaded.title, [row for row in rows if row and row[1]])


def _trained(loaded: Loaded) -> list[tuple[str, str]]:
    """Return rows about the training: sampler, objectives, data, length."""
    config = loaded.config
    seen = loaded.step * config.train.batch_size
    learnt = [(label, text) for label, text in loaded.method.chain if label.startswith("objective")]
    hides = _is_brick(config, "mask") and method_takes(config, "mask")
    mask = [("mask", title(bind(config.mask)))] if hides else []
    data = title(bind(config.data.train)).removeprefix("data.")
    steps = f"step {loaded.step:,}, {seen:,} images seen"
    return [*mask, *learnt, ("data", data), ("trained", steps)]


def _is_brick(config: ConfigDict, name: str) -> bool:
    return name in config and isinstance(config[name], ConfigDict) and "brick" in config[name]


def _results(loaded: Loaded) -> list[tuple[str, str]]:
    """Return a row of the numbers in results.json; none where there is no such file."""
    # It imports all that evaluations need, which takes seconds.
    from maskmim.evals.run import RESULTS
    from maskmim.reporting.metrics_file import flat_metrics

    try:
        stored = json.loads((loaded.workdir / RESULTS).read_text(encoding="utf-8"))
        metrics = flat_metrics(stored)
        at = "" if stored["step"] == loaded.step else f" (at step {stored['step']:,})"
    except (OSError, ValueError, KeyError, TypeError):
        return []
    words = [
        f"{name} {show(value)}"
        for name, value in metrics.items()
        for pattern, show in SHOWN.items()
        if re.search(pattern, name) and _is_number(value)
    ]
    return [("results", ", ".join(words) + at)] if words else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
