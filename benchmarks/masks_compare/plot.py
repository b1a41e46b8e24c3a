"""The plot of the comparison of masks: a panel a metric, a column a sampler, a dot a seed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

COLOURS = {
    "green": "tab:green",
    "red": "tab:red",
    "blue": "tab:blue",
    "purple": "tab:purple",
    "random": "black",
    "beit": "tab:orange",
    "units": "tab:brown",
}
SIZE = (11.0, 6.0)  # inches
DPI = 80


def draw(
    panels: Mapping[str, Mapping[str, Mapping[int, float]]], title: str, samplers: Sequence[str]
) -> np.ndarray:
    """Return the plot as u8[H, W, 3].

    panels: {title of a metric: {sampler: {seed: value}}}. A bar is the mean over seeds, a dashed
    line random masks', a dotted one that of the network without pretraining.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.subplots(2, (len(panels) + 1) // 2, squeeze=False).flat
    for axes, (name, values) in zip(grid, panels.items(), strict=False):
        for column, sampler in enumerate(samplers):
            seeds = list(values.get(sampler, {}).values())
            colour = COLOURS.get(sampler, "gray")
            axes.plot([column] * len(seeds), seeds, "o", color=colour, markersize=4)
            if seeds:
                mean = statistics.fmean(seeds)
                axes.hlines(mean, column - 0.3, column + 0.3, color=colour)
        for other, style in (("random", "--"), ("none", ":")):
            if values.get(other):
                mean = statistics.fmean(values[other].values())
                axes.axhline(mean, color="gray", linestyle=style, linewidth=0.8)
        axes.set_title(name, fontsize=10)
        axes.set_xticks(range(len(samplers)), samplers, rotation=45, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
