"""Pictures of masks, reconstructions and losses, as arrays u8[H, W, 3], and saving them."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

SHOWN_PIXELS = 128
GREY = 118


def as_rgb(images: np.ndarray) -> np.ndarray:
    """u8[B, H, W, C] as u8[B, H, W, 3]: grey is repeated, of more channels the first three count."""
    channels = images.shape[-1]
    if channels >= 3:
        return np.ascontiguousarray(images[..., :3])
    return np.repeat(images[..., :1], 3, axis=-1)


def enlarge(images: np.ndarray) -> np.ndarray:
    """Pictures with whole-number magnification so that their short side is at least 128 pixels."""
    factor = max(1, -(-SHOWN_PIXELS // min(images.shape[1:3])))
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def cover(images: np.ndarray, hidden: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """u8[B, H, W, C] with the patches grey where hidden bool[B, N] is true, row-major on the grid."""
    rows, columns = grid
    height, width = images.shape[1] // rows, images.shape[2] // columns
    veil = hidden.reshape(-1, rows, columns).repeat(height, axis=1).repeat(width, axis=2)
    return np.where(veil[..., None], np.uint8(GREY), images)


def mask_sheet(
    images: np.ndarray, hidden: np.ndarray, grid: tuple[int, int], *, title: str
) -> np.ndarray:
    """A sampler's masks on images: the image above, what stays visible below.

    images: u8[B, H, W, C]. hidden: bool[B, N]. grid: (rows, columns), H and W multiples of them.
    """
    rgb = as_rgb(images)
    count = int(hidden[0].sum())
    caption = f"{title}: {hidden.shape[1] - count} of {hidden.shape[1]} patches visible"
    rows = [("image", enlarge(rgb)), ("visible", enlarge(cover(rgb, hidden, grid)))]
    return _sheet(rows, caption, across=True)


def reconstruction_sheet(
    image: np.ndarray,
    masked: np.ndarray,
    restored: np.ndarray,
    raw: np.ndarray,
    *,
    title: str,
) -> np.ndarray:
    """Image, masked image and reconstructions side by side, one example a row.

    restored: predictions with the statistics of the true patches put back, visible patches as they
    are. raw: the predictions pasted as they come.
    """
    columns = [
        ("image", image),
        ("masked", masked),
        ("reconstruction,\nstatistics put back", restored),
        ("reconstruction,\nraw paste", raw),
    ]
    return _sheet([(name, enlarge(as_rgb(array))) for name, array in columns], title, across=False)


def _sheet(series: Sequence[tuple[str, np.ndarray]], title: str, *, across: bool) -> np.ndarray:
    """Labelled pictures in a grid: a series is a row where `across`, else a column."""
    examples = len(series[0][1])
    rows, columns = (len(series), examples) if across else (examples, len(series))
    height, width = series[0][1].shape[1:3]
    cell = 1.25
    size = (columns * cell * width / height + 0.9, rows * cell + 0.9)
    figure = Figure(figsize=size, layout="constrained", dpi=110)
    figure.suptitle(title, fontsize=9, wrap=True)
    axes = figure.subplots(rows, columns, squeeze=False)
    for place, (label, pictures) in enumerate(series):
        for example, picture in enumerate(pictures):
            axis = axes[place, example] if across else axes[example, place]
            axis.imshow(picture, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_visible(False)
            if example == 0:
                (axis.set_ylabel if across else axis.set_title)(label, fontsize=8)
    return render(figure)


def loss_curve(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """The training loss over steps, smoothed, the learning rate below, probes where there are any."""
    figure = Figure(figsize=(7, 4.6), layout="constrained", dpi=110)
    probes = sorted({name for row in rows for name in row if name.endswith("top1")})
    heights = [3, 2, 1] if probes else [3, 1]
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    steps, losses = _series(rows, "loss")
    axes[0].plot(steps, losses, color="#9db8d9", linewidth=0.8, label="each logged step")
    axes[0].plot(steps, _smooth(losses), color="#1f4e8c", linewidth=1.6, label="smoothed")
    axes[0].set_ylabel("training loss")
    axes[0].legend(frameon=False, fontsize=8)
    if probes:
        for name in probes:
            at, values = _series(rows, name)
            axes[1].plot(at, 100 * np.asarray(values), marker="o", markersize=3, label=name)
        axes[1].set_ylabel("top-1, %")
        axes[1].legend(frameon=False, fontsize=7)
    axes[-1].plot(*_series(rows, "lr"), color="#777777", linewidth=1)
    axes[-1].set_ylabel("rate")
    axes[-1].set_xlabel("step")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return render(figure)


def _series(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    found = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    return [step for step, _ in found], [value for _, value in found]


def _smooth(values: Sequence[float]) -> np.ndarray:
    """A running mean over a twentieth of the curve, shorter at the ends."""
    array = np.asarray(values, float)
    reach = max(1, len(array) // 40)
    return np.array([array[max(0, i - reach) : i + reach + 1].mean() for i in range(len(array))])


def render(figure: Figure) -> np.ndarray:
    """A matplotlib figure as u8[H, W, 3]."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return np.asarray(Image.open(buffer).convert("RGB"))


def save_png(path: Path, picture: np.ndarray) -> None:
    """Writes a PNG in one move, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    Image.fromarray(picture).save(part, format="PNG", optimize=True)
    os.replace(part, path)
