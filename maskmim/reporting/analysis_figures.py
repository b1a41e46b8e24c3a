"""Figures of what is measured block by block: lines, spectra, similarities, heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maskmim.reporting.loss_curve import render_figure

# From light to dark with the depth, as a colour of its own for each of many blocks has no order.
DEPTHS = matplotlib.colormaps["viridis_r"]


def draw_lines(
    numbers: Sequence[int], lines: Mapping[str, np.ndarray], *, x: str, y: str, title: str
) -> np.ndarray:
    """Draw a line for each name over whole numbers: u8[H, W, 3]."""
    figure = Figure(figsize=(6.0, 3.8), layout="constrained", dpi=110)
    axis = figure.subplots()
    _plot_lines(axis, numbers, lines)
    _label(axis, x, y, title)
    return render_figure(figure)


def draw_spectra(
    numbers: Sequence[int], spectra: Sequence[np.ndarray], ranks: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Draw singular values of every block, relative to their largest, and ranks over the depth.

    spectra: f[values] of each block, descending. ranks: {name: f[blocks]}.
    Returns u8[H, W, 3].
    """
    figure = Figure(figsize=(9.0, 3.8), layout="constrained", dpi=110)
    left, right = figure.subplots(1, 2)
    for place, (number, values) in enumerate(zip(numbers, spectra, strict=True)):
        shares = values / values[0] if values[0] > 0 else values
        colour = DEPTHS(place / max(len(numbers) - 1, 1))
        indices = np.arange(1, len(values) + 1)
        left.plot(indices, np.maximum(shares, 1e-7), color=colour, linewidth=1.2, label=str(number))
    left.set_yscale("log")
    left.legend(title="block", frameon=False, fontsize=7, ncols=1 + len(numbers) // 9)
    _label(left, "index", "singular value / largest", "Spectrum of centred features")
    left.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    _plot_lines(right, numbers, ranks)
    right.set_ylim(0, _room(np.concatenate([np.ravel(each) for each in ranks.values()])))
    _label(right, "block", "effective rank", "Directions that features use")
    return render_figure(figure)


def draw_similarities(values: np.ndarray, rows: str, columns: str, title: str) -> np.ndarray:
    """Draw f[blocks, other blocks], from 0 to 1, as a map with numbers: u8[H, W, 3]."""
    height, width = values.shape
    figure = Figure(
        figsize=(2.2 + 0.38 * width, 1.6 + 0.38 * height), layout="constrained", dpi=110
    )
    axis = figure.subplots()
    image = axis.imshow(values, vmin=0, vmax=1, cmap="magma", origin="lower")
    for row, column in np.ndindex(values.shape):
        colour = "white" if values[row, column] < 0.6 else "black"
        text = f"{values[row, column]:.2f}".removeprefix("0")
        axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=6)
    axis.set_xticks(range(width))
    axis.set_yticks(range(height))
    axis.set_xlabel(columns, fontsize=8)
    axis.set_ylabel(rows, fontsize=8)
    axis.set_title(title, fontsize=9, loc="left")
    figure.colorbar(image, ax=axis, shrink=0.8)
    return render_figure(figure)


def draw_heads(
    numbers: Sequence[int], values: np.ndarray, uniform: float, *, y: str, title: str
) -> np.ndarray:
    """Draw f[blocks, heads] as points over the depth, with their mean: u8[H, W, 3].

    uniform: the value of heads that attend evenly, a dashed line.
    """
    figure = Figure(figsize=(6.0, 3.8), layout="constrained", dpi=110)
    axis = figure.subplots()
    places = np.repeat(numbers, values.shape[1])
    axis.scatter(places, values.reshape(-1), s=14, color="#7aa0cc", label="a head")
    axis.plot(numbers, values.mean(axis=1), color="#1f4e8c", linewidth=1.4, label="mean of heads")
    axis.axhline(uniform, color="#999999", linestyle="--", linewidth=1, label="even attention")
    axis.set_ylim(0, _room(np.append(values, uniform)))
    axis.legend(frameon=False, fontsize=8)
    _label(axis, "block", y, title)
    return render_figure(figure)


def _room(values: np.ndarray) -> float:
    """Return the end of an axis from 0 that leaves room above the values."""
    return 1.08 * float(values.max()) or 1.0


def _plot_lines(axis: Any, numbers: Sequence[int], lines: Mapping[str, np.ndarray]) -> None:
    for name, values in lines.items():
        axis.plot(numbers, values, marker="o", markersize=4, label=name)
    if len(lines) > 1:
        axis.legend(frameon=False, fontsize=8)


def _label(axis: Any, x: str, y: str, title: str) -> None:
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.set_title(title, fontsize=9, loc="left")
    axis.xaxis.set_major_locator(MaxNLocator(12, integer=True, min_n_ticks=1))
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="#eeeeee")
    axis.set_axisbelow(True)
