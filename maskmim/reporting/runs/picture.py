"""One picture of several runs: loss curves, and bars of their evaluations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maskmim.reporting.loss_curve import (
    loss_range,
    mean_window,
    render_figure,
    running_mean,
    series,
)
from maskmim.reporting.runs.columns import config_value
from maskmim.reporting.runs.summary import RunSummary
from maskmim.reporting.runs.table import format_value

MOST_PANELS = 4
COLOURS = [f"C{index}" for index in range(10)]
# Beyond the colours, runs differ by the line and the hatch of the bar.
LINES, HATCHES = ("-", "--", ":", "-."), ("", "////", "....", "xx")
WIDTH, BAR, CURVES = 10.0, 0.27, 3.8
LONGEST_LABEL = 30


class Style(NamedTuple):
    """How a run is drawn in both parts of the picture."""

    label: str
    colour: str
    line: str
    hatch: str


def draw_runs(runs: Sequence[RunSummary], evaluations: Sequence[str]) -> np.ndarray:
    """Draw the loss of runs over steps, and a panel of bars for each of some evaluations.

    evaluations: names; the first MOST_PANELS are drawn.
    Where batch sizes differ the loss is over examples instead of steps.
    Returns u8[H, W, 3].
    """
    panels = list(evaluations)[:MOST_PANELS]
    styles = [_style(index, run.name) for index, run in enumerate(runs)]
    bars = 0.75 + BAR * len(runs) if panels else 0.0
    curves = max(CURVES, 0.2 * len(runs) + 0.6)
    figure = Figure(figsize=(WIDTH, curves + bars), layout="constrained", dpi=110)
    if not panels:
        _draw_curves(figure, figure.subplots(), runs, styles)
        return render_figure(figure)
    upper, lower = figure.subfigures(2, 1, height_ratios=[curves, bars])
    _draw_curves(upper, upper.subplots(), runs, styles)
    axes = lower.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, name in zip(axes, panels, strict=True):
        _draw_bars(axis, name, runs, styles)
    return render_figure(figure)


def _style(index: int, name: str) -> Style:
    turn = index // len(COLOURS) % len(LINES)
    label = name if len(name) <= LONGEST_LABEL else f"…{name[1 - LONGEST_LABEL :]}"
    return Style(label, COLOURS[index % len(COLOURS)], LINES[turn], HATCHES[turn])


def _draw_curves(
    figure: Any, axis: Any, runs: Sequence[RunSummary], styles: Sequence[Style]
) -> None:
    sizes = [config_value(run, "train.batch_size") for run in runs]
    by_step = len(set(sizes)) == 1 or None in sizes
    lows, highs, has_means = [], [], False
    for run, style, size in zip(runs, styles, sizes, strict=True):
        steps, losses = series(run.rows, "loss")
        label = style.label if len(losses) else f"{style.label} (no loss)"
        if len(losses):
            low, high = loss_range(steps, losses)
            lows.append(low)
            highs.append(high)
            if (window := mean_window(len(losses))) > 1:
                steps, losses = running_mean(steps, losses, window)
                has_means = True
        where = steps if by_step else steps * size
        axis.plot(
            where,
            losses,
            color=style.colour,
            linestyle=style.line,
            linewidth=1.6,
            marker="o" if len(where) == 1 else "",
            label=label,
        )
    if lows:
        room = 0.05 * (max(highs) - min(lows)) or 0.05 * abs(max(highs)) or 1.0
        axis.set_ylim(min(lows) - room, max(highs) + room)
    axis.set_ylabel("training loss, running mean" if has_means else "training loss")
    axis.set_xlabel("step" if by_step else "examples seen (batch sizes differ)")
    axis.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    _plain(axis)
    axis.grid(color="#eeeeee")
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)


def _draw_bars(axis: Any, name: str, runs: Sequence[RunSummary], styles: Sequence[Style]) -> None:
    values = [run.evaluated.get(name) for run in runs]
    lengths = [v if v is not None and math.isfinite(v) else 0.0 for v in values]
    places = range(len(runs))
    for place, length, style in zip(places, lengths, styles, strict=True):
        axis.barh(
            place, length, 0.7, color=style.colour, hatch=style.hatch, edgecolor="white", lw=0
        )
    for place, value, length in zip(places, values, lengths, strict=True):
        text = format_value(name, value) if value is not None else "none yet"
        axis.annotate(
            text,
            (max(length, 0.0), place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color="#222222" if value is not None else "#777777",
        )
    low, high = min([0.0, *lengths]), max([*lengths, 0.0]) or 1.0
    axis.set_xlim(low, low + 1.3 * (high - low))
    axis.set_title(name, fontsize=9, loc="left")
    axis.set_yticks(list(places), [style.label for style in styles], fontsize=9)
    axis.set_ylim(len(runs) - 0.4, -0.6)
    axis.xaxis.set_major_locator(MaxNLocator(3))
    if name.endswith("top1"):
        axis.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    axis.tick_params(axis="x", labelsize=8)
    axis.tick_params(axis="y", length=0)
    _plain(axis)


def _plain(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_axisbelow(True)
