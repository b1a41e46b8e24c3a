"""A picture of the training loss, learning rate and probe accuracy over the steps of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def draw_loss_curve(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Draw the training loss with its running mean, the learning rate and, if any, probe accuracy.

    rows: as `metrics_log.read_metrics` returns them; draws 'loss', 'lr' and the names that end in
          'top1' (shares in [0, 1]), each from the rows that have it.
    Returns u8[H, W, 3].
    """
    return render_figure(loss_figure(rows))


def loss_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the figure of `draw_loss_curve`."""
    probes = sorted({name for row in rows for name in row if name.endswith("top1")})
    heights = [3, 2, 1] if probes else [3, 1]
    figure = Figure(figsize=(7.5, 1.3 * sum(heights)), layout="constrained", dpi=110)
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    _draw_loss(axes[0], *series(rows, "loss"))
    if probes:
        for name in probes:
            steps, values = series(rows, name)
            axes[1].plot(steps, 100 * values, marker="o", markersize=4, label=name)
        axes[1].set_ylabel("top-1 (%)")
        axes[1].legend(frameon=False, fontsize=8)
    steps, rates = series(rows, "lr")
    axes[-1].plot(steps, rates, color="#666666", linewidth=1.2, marker=_point_marker(steps))
    axes[-1].set_ylabel("learning\nrate")
    axes[-1].set_xlabel("step")
    axes[-1].ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    axes[-1].set_ylim(bottom=0)
    axes[-1].yaxis.set_major_locator(MaxNLocator(3))
    axes[-1].xaxis.set_major_locator(MaxNLocator(8, integer=True))
    logged = [row["step"] for row in rows] or [0]
    if min(logged) == max(logged):
        axes[-1].set_xlim(logged[0] - 1.5, logged[0] + 1.5)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#eeeeee")
        axis.set_axisbelow(True)
    figure.align_ylabels(axes)
    return figure


def _draw_loss(axis: Any, steps: np.ndarray, losses: np.ndarray) -> None:
    axis.set_ylabel("training loss")
    if not len(losses):
        axis.text(
            0.5, 0.5, "no step logged yet", ha="center", va="center", transform=axis.transAxes
        )
        return
    low, high = loss_range(steps, losses)
    above = int(np.sum(losses > high))
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    axis.set_ylim(low - room, high + room)
    axis.plot(
        steps,
        losses,
        color="#a9c1de",
        linewidth=0.8,
        marker=_point_marker(steps),
        label="as logged",
    )
    title = f"Training loss up to step {steps[-1]:,}"
    window = mean_window(len(losses))
    if window > 1:
        middle, mean = running_mean(steps, losses, window)
        between = round(window * float(np.median(np.diff(steps))))
        label = f"mean of {window} logged values ({between:,} steps)"
        axis.plot(middle, mean, color="#1f4e8c", linewidth=1.8, label=label)
        axis.legend(frameon=False, fontsize=8)
        title += f": {mean[-1]:.4g}, mean of the last {window} logged values"
    if above:
        title += f"\nabove the axis: {above} of {len(losses)} values, up to {losses.max():.4g}"
    axis.set_title(title, fontsize=9, loc="left")


def loss_range(steps: np.ndarray, losses: np.ndarray) -> tuple[float, float]:
    """Return the range of losses to show: later differences are small beside the first values.

    It holds all values from 1 % of the steps on, but for the largest 2 %.
    """
    later = losses[steps >= steps[-1] / 100]
    return float(later.min()), float(np.percentile(later, 98))


def _point_marker(steps: np.ndarray) -> str:
    """Return a marker style for a single point, which a line would not show."""
    return "o" if len(steps) == 1 else ""


def series(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps and values of a metric, without the values that were not finite."""
    logged = [row for row in rows if row.get(name) is not None]
    steps = np.array([row["step"] for row in logged], int)
    return steps, np.array([row[name] for row in logged], float)


def mean_window(count: int) -> int:
    """Return how many values a running mean takes: a twentieth of them, odd; 1 for few."""
    return 2 * (count // 40) + 1 if count >= 40 else 3 if count >= 6 else 1


def running_mean(
    steps: np.ndarray, values: np.ndarray, window: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the means of `window` values each, and the steps in their middle.

    Only of whole windows, so that the ends are means of as many values as the rest.
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    reach = window // 2
    return steps[reach : len(steps) - reach], (sums[window:] - sums[:-window]) / window


def render_figure(figure: Figure) -> np.ndarray:
    """Return a matplotlib figure as u8[H, W, 3]."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
