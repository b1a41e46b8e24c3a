"""Pictures of masks, reconstructions and losses, as arrays u8[H, W, 3], and saving them."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont

from maskmim.looks import cover, look, some_frames, upright

LIMITS = (128, 320)
FRAME_LIMITS = (96, 128)
CLIPS = 4
MARGIN, GAP, GROUP_GAP = 16, 4, 20
TITLE_SIZE, LABEL_SIZE = 15, 12


def resize(images: np.ndarray, limits: tuple[int, int] = LIMITS) -> np.ndarray:
    """u8[B, H, W, 3] at a size that can be looked at.

    Small ones are magnified by a whole number, so that pixels stay squares, until the short side
    has limits[0] pixels; where the long side has more than limits[1], averages of pixels bring it
    down to that.
    """
    smallest, largest = limits
    height, width = images.shape[1:3]
    factor = max(1, -(-smallest // min(height, width)))
    if factor > 1:
        images = images.repeat(factor, axis=1).repeat(factor, axis=2)
    scale = largest / max(images.shape[1:3])
    if scale >= 1:
        return images
    size = (max(1, round(images.shape[2] * scale)), max(1, round(images.shape[1] * scale)))
    box = Image.Resampling.BOX
    return np.stack([np.asarray(Image.fromarray(image).resize(size, box)) for image in images])


def mask_sheet(
    arrays: np.ndarray,
    hidden: np.ndarray,
    grid: tuple[int, ...],
    *,
    title: str,
    stream: str = "image",
) -> np.ndarray:
    """A sampler's masks on examples: pairs of an example and what stays visible of it.

    arrays: u8[B, *size, C] as people see them. hidden: bool[B, N]. grid: tokens along each axis,
            which divide the size.
    title:  the sampler and what it was given; the numbers of hidden patches are added.
    Returns u8[height, width, 3]. Raises ValueError where mask and arrays do not fit.
    """
    shown, hidden = look(stream, np.asarray(arrays)), np.asarray(hidden, bool)
    columns = {stream: shown, "what the encoder may see": cover(shown, hidden, grid)}
    return sheet(columns, title=f"{title}\n{count_text(hidden)}", stream=stream, groups=2)


def count_text(hidden: np.ndarray) -> str:
    """How much of each image a mask bool[B, N] hides, in words."""
    counts, length = hidden.sum(axis=1), hidden.shape[1]
    low, high = int(counts.min()), int(counts.max())
    number = str(low) if low == high else f"{low} to {high}"
    return f"{counts.mean() / length:.1%} hidden: {number} of {length} patches of each image"


def reconstruction_columns(
    arrays: np.ndarray, masked: np.ndarray, raw_paste: np.ndarray, restored: np.ndarray
) -> dict[str, np.ndarray]:
    """The columns of a sheet of reconstructions, by their titles.

    arrays, masked: u8[B, *size, 3].
    raw_paste: predictions shown as they come, visible patches as they are.
    restored:  the same with the mean and contrast of each true patch put back into predictions of
               normalised patches. Where it equals raw_paste (the target is no normalised patch),
               one column shows both.
    """
    columns = {"example": arrays, "masked": masked}
    if np.array_equal(raw_paste, restored):
        return {**columns, "reconstruction": restored}
    columns["reconstruction: true mean and contrast put back"] = restored
    return {**columns, "raw paste: predictions as they come": raw_paste}


def sheet(
    columns: Mapping[str, np.ndarray], *, title: str, stream: str = "image", groups: int = 1
) -> np.ndarray:
    """Versions of examples side by side, one example a row; the frames of clips below each other.

    columns: {title: u8[B, H, W, 3], of clips u8[B, T, H, W, 3]}, all with as many examples.
    groups:  examples side by side, for pictures. Of clips the first CLIPS are shown.
    Returns u8[height, width, 3].
    """
    if any(array.ndim == 5 for array in columns.values()):
        some = {name: some_frames(array[:CLIPS]) for name, array in columns.items()}
        return strip_sheet(some, title)
    shown = [resize(upright(stream, np.asarray(array))) for array in columns.values()]
    return _sheet(shown, list(columns), title, groups=groups)


def strip_sheet(versions: Mapping[str, np.ndarray], title: str) -> np.ndarray:
    """Clips as strips of frames, the versions of a clip below each other.

    versions: {label: u8[B, T, H, W, 3]}.
    """
    lines = {
        name: [resize(clip, limits=FRAME_LIMITS) for clip in clips]
        for name, clips in versions.items()
    }
    first = next(iter(lines.values()))
    frames, height, width = first[0].shape[:3]
    across = 2 * MARGIN + frames * (width + GAP) - GAP
    heading = _wrapped(title, TITLE_SIZE, across - 2 * MARGIN)
    top = MARGIN + _line(TITLE_SIZE) * len(heading) + GAP
    strip = _line(LABEL_SIZE) + height + GAP
    down = top + len(first) * (len(lines) * strip + GROUP_GAP) - GROUP_GAP + MARGIN
    canvas = Image.new("RGB", (across, down), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN), "\n".join(heading), "black", _font(TITLE_SIZE), spacing=4)
    for example in range(len(first)):
        for label, clips in lines.items():
            draw.text((MARGIN, top), label, "#444444", _font(LABEL_SIZE))
            for place, frame in enumerate(clips[example]):
                at = (MARGIN + place * (width + GAP), top + _line(LABEL_SIZE))
                canvas.paste(Image.fromarray(frame), at)
            top += strip
        top += GROUP_GAP
    return np.asarray(canvas)


def _sheet(
    columns: Sequence[np.ndarray], labels: Sequence[str], title: str, *, groups: int
) -> np.ndarray:
    """Examples in rows, their versions in labelled columns, `groups` examples side by side."""
    examples, height, width = columns[0].shape[:3]
    groups = min(groups, examples)
    group_width = len(columns) * (width + GAP) - GAP
    across = groups * (group_width + GROUP_GAP) - GROUP_GAP + 2 * MARGIN
    heading = _wrapped(title, TITLE_SIZE, across - 2 * MARGIN)
    named = [_wrapped(label, LABEL_SIZE, width) for label in labels]
    label_top = MARGIN + _line(TITLE_SIZE) * len(heading) + GAP
    top = label_top + _line(LABEL_SIZE) * max(map(len, named)) + GAP
    down = top + -(-examples // groups) * (height + GAP) - GAP + MARGIN
    canvas = Image.new("RGB", (across, down), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN), "\n".join(heading), "black", _font(TITLE_SIZE), spacing=4)
    for group in range(groups):
        left = MARGIN + group * (group_width + GROUP_GAP)
        for place, column in enumerate(columns):
            x = left + place * (width + GAP)
            text = "\n".join(named[place])
            draw.text((x, label_top), text, "#444444", _font(LABEL_SIZE), spacing=4)
            for row, picture in enumerate(column[group::groups]):
                canvas.paste(Image.fromarray(picture), (x, top + row * (height + GAP)))
    return np.asarray(canvas)


def _font(size: int) -> ImageFont.FreeTypeFont:
    # matplotlib brings it, and it has the letters of most languages, which file names may need.
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def _line(size: int) -> int:
    return sum(_font(size).getmetrics()) + 4


def _wrapped(text: str, size: int, width: int) -> list[str]:
    """Lines of text that are at most `width` pixels wide, as far as average letters go."""
    letters = max(8, int(width / _font(size).getlength("abcdefghijklmnopqrstuvwxyz") * 26))
    return [part for line in text.split("\n") for part in textwrap.wrap(line, letters) or [""]]


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


def save_png(path: Path, picture: np.ndarray) -> None:
    """Writes a picture u8[H, W, 3] as PNG in one move, making its folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = io.BytesIO()
    Image.fromarray(np.asarray(picture)).save(data, format="PNG")
    part = path.with_name(path.name + ".part")
    part.write_bytes(data.getvalue())
    os.replace(part, path)
