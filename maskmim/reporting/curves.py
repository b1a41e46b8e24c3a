"""Pictures of numbers over a setting: accuracy over shares of hidden tokens, errors by severity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from maskmim.reporting.loss_curve import render_figure


def draw_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    across: str,
    up: str,
) -> np.ndarray:
    """Draw a line with points for each name, beside a legend; return u8[H, W, 3].

    curves: {name: (x, y)}. across, up: what the axes are. The vertical axis begins at 0.
    """
    figure = Figure(figsize=(7.5, 4.2), layout="constrained", dpi=110)
    axes = figure.subplots()
    for name, (x, y) in curves.items():
        axes.plot(x, y, marker="o", markersize=4, linewidth=1.3, label=name)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.set_ylim(bottom=0)
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return render_figure(figure)
