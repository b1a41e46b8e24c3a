"""The training loss as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def loss_curve(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """The training loss over steps, smoothed, the learning rate below, probes where there are any.

    rows: what `metrics.read` gives; 'loss', 'lr' and names that end in 'top1' (shares in [0, 1])
          are drawn, each where it is there.
    Returns u8[H, W, 3].
    """
    probes = sorted({name for row in rows for name in row if name.endswith("top1")})
    heights = [3, 2, 1] if probes else [3, 1]
    figure = Figure(figsize=(7.5, 1.3 * sum(heights)), layout="constrained", dpi=110)
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    _draw_loss(axes[0], *_series(rows, "loss"))
    if probes:
        for name in probes:
            at, values = _series(rows, name)
            axes[1].plot(at, 100 * values, marker="o", markersize=4, label=name)
        axes[1].set_ylabel("top-1 (%)")
        axes[1].legend(frameon=False, fontsize=8)
    steps, rates = _series(rows, "lr")
    axes[-1].plot(steps, rates, color="#666666", linewidth=1.2, marker=_lone(steps))
    axes[-1].set_ylabel("learning\nrate")
    axes[-1].set_xlabel("step")
    axes[-1].ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    axes[-1].set_ylim(bottom=0)
    axes[-1].yaxis.set_major_locator(MaxNLocator(3))
    axes[-1].xaxis.set_major_locator(MaxNLocator(8, integer=True))
    at = [row["step"] for row in rows] or [0]
    if min(at) == max(at):
        axes[-1].set_xlim(at[0] - 1.5, at[0] + 1.5)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#eeeeee")
        axis.set_axisbelow(True)
    figure.align_ylabels(axes)
    return render(figure)


def _draw_loss(axis: Any, steps: np.ndarray, losses: np.ndarray) -> None:
    axis.set_ylabel("training loss")
    if not len(losses):
        axis.text(
            0.5, 0.5, "no step logged yet", ha="center", va="center", transform=axis.transAxes
        )
        return
    # Rare spikes, which would flatten all else, leave the axis and do not bend the mean.
    low, high = np.percentile(losses, [0.5, 99.5])
    smooth = _smooth(losses.clip(low, high))
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    axis.set_ylim(low - room, high + room)
    axis.plot(steps, losses, color="#a9c1de", linewidth=0.8, marker=_lone(steps), label="as logged")
    if len(losses) > 2:
        axis.plot(steps, smooth, color="#1f4e8c", linewidth=1.8, label="running mean")
        axis.legend(frameon=False, fontsize=8)


def _lone(steps: np.ndarray) -> str:
    """A marker where there is one point, which no line would show."""
    return "o" if len(steps) == 1 else ""


def _series(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a metric, without those that were not finite."""
    found = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    return np.array([step for step, _ in found], int), np.array(
        [value for _, value in found], float
    )


def _smooth(values: np.ndarray) -> np.ndarray:
    """A running mean over a twentieth of the curve, over fewer values at the ends."""
    reach = len(values) // 40 + 1
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    first, last = np.maximum(0, places - reach), np.minimum(len(values), places + reach + 1)
    return (sums[last] - sums[first]) / (last - first)


def render(figure: Figure) -> np.ndarray:
    """A matplotlib figure as u8[H, W, 3]."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
