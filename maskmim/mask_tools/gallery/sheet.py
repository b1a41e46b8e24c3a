"""The gallery's sheets: a row of masks for every sampler, their coverage and their spectrum."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from maskmim.mask_tools import statistics
from maskmim.mask_tools.gallery import overlay as ink
from maskmim.mask_tools.gallery.draw import DrawnSampler, MaskMaps, grid_text
from maskmim.mask_tools.gallery.overlay import overlay, tile
from maskmim.mask_tools.gallery.scene import Scene
from maskmim.mask_tools.gallery.table import (
    MaskStatistics,
    number_text,
    p_text,
    percent_text,
    range_text,
    row_name,
)
from maskmim.reporting.loss_curve import render_figure

# Inches: columns from left to right, then the space above and between rows.
MARGIN, GAP, TICKS = 0.3, 0.3, 0.4
LABEL, EXAMPLES, COVERAGE, SPECTRUM = 3.0, 6.1, 1.45, 1.9
LEFT_EXAMPLES = MARGIN + LABEL + GAP
LEFT_COVERAGE = LEFT_EXAMPLES + EXAMPLES + GAP
LEFT_SPECTRUM = LEFT_COVERAGE + COVERAGE + GAP + TICKS
WIDTH = LEFT_SPECTRUM + SPECTRUM + MARGIN
HEADER, ROW_GAP, NOTE, FOOTER = 1.5, 0.5, 0.3, 1.1
PICTURE, PICTURE_GAP = 1.45, 0.07
DPI = 100
MOST_EXAMPLES, MOST_VIEWS, RINGS = 10, 4, 14
POWERS = (0.03, 30.0)
TITLE_SIZE, NAME_SIZE, TEXT_SIZE = 15, 12, 10
LETTERS, LONGEST_NAME = 40, 30  # Per line of the label column, and of a name at full size.
GREY, LINE = "#555555", "#005493"
TERMS = (
    "token: a patch.  seen: the encoder gets its content.  hidden: its content is withheld.  "
    "predicted: the loss is taken on it.",
    "groups: mean number of seen tokens that touch, side by side.  distance: mean distance from a "
    "token that is not seen to the nearest seen one, in tokens.",
    "how often seen: over all masks, least to most of the tokens; a uniform tone means equally "
    "often.  p: the chance of such differences if all are; near 0 they are not.",
    "power: of the map of seen tokens, by fineness: left coarse patterns, right single tokens, "
    "and 1, the dashed line, for uniformly random masks.",
)


class Row(NamedTuple):
    """A strip of a sheet: one view of a sampler, or a note why it has none.

    view, measured: None for a note.
    """

    name: str
    drawn: DrawnSampler
    scene: Scene
    view: MaskMaps | None = None
    measured: MaskStatistics | None = None

    @property
    def height(self) -> float:
        """Return the height in inches, without the gap to the next row."""
        if self.view is None:
            return NOTE
        rows, _, cell = arrangement(_aspect(self.scene))
        return max(PICTURE, rows * (cell + PICTURE_GAP) - PICTURE_GAP)


def sheet_rows(drawn: DrawnSampler, scene: Scene, measured: Sequence[MaskStatistics]) -> list[Row]:
    """Return a sampler's rows, one for each of its first views, all of the same examples."""
    if not drawn.views:
        return [Row(drawn.sampler.name, drawn, scene)]
    pairs = list(zip(drawn.views, measured, strict=True))[:MOST_VIEWS]
    return [
        Row(row_name(drawn, index), drawn, scene, view, values)
        for index, (view, values) in enumerate(pairs)
    ]


def sheet_size(rows: Sequence[Row]) -> tuple[int, int]:
    """Return the (height, width) of a sheet in pixels."""
    inches = HEADER + sum(row.height + ROW_GAP for row in rows) + FOOTER
    return round(inches * DPI), round(WIDTH * DPI)


def draw_sheet(title: str, rows: Sequence[Row]) -> np.ndarray:
    """Draw a sheet u8[H, W, 3] of `sheet_size` with a legend and the rows below each other."""
    height, width = sheet_size(rows)
    canvas = _Canvas(Figure(figsize=(width / DPI, height / DPI), dpi=DPI), height / DPI)
    _heading(canvas, title, used_kinds(rows))
    top = HEADER
    for row in rows:
        _label(canvas, row, top)
        if row.view is not None:
            _examples(canvas, row, top)
            _coverage(canvas, row, top)
            _spectrum(canvas, row, top)
        top += row.height + ROW_GAP
    canvas.text(MARGIN, top, "\n".join(TERMS), TEXT_SIZE - 1, color=GREY, linespacing=1.5)
    return render_figure(canvas.figure)


def arrangement(aspect: float) -> tuple[int, int, float]:
    """Arrange pictures of width / height `aspect` in their column: (rows, columns, inches high).

    They stand side by side where they are narrower than the column, else below each other, at least
    two.
    """
    width = PICTURE * aspect
    if width <= EXAMPLES:
        columns = int((EXAMPLES + PICTURE_GAP) / (width + PICTURE_GAP) + 1e-9)
        return 1, min(MOST_EXAMPLES, columns), PICTURE
    cell = EXAMPLES / aspect
    rows = int((PICTURE + PICTURE_GAP) / (cell + PICTURE_GAP))
    return min(MOST_EXAMPLES, max(2, rows)), 1, cell


class _Canvas(NamedTuple):
    """A figure with positions in inches from its left and its top."""

    figure: Figure
    height: float

    def axes(self, left: float, top: float, width: float, height: float):
        """Add axes at a position."""
        bottom = self.height - top - height
        return self.figure.add_axes(
            (left / WIDTH, bottom / self.height, width / WIDTH, height / self.height)
        )

    def text(self, left: float, top: float, words: str, size: float = TEXT_SIZE, **style) -> None:
        """Write text below a position."""
        style = {"va": "top", **style}
        self.figure.text(left / WIDTH, 1 - top / self.height, words, fontsize=size, **style)

    def picture(self, left: float, top: float, width: float, height: float, array, **style) -> None:
        """Draw an array as a picture without ticks."""
        axis = self.axes(left, top, width, height)
        axis.imshow(array, aspect="auto", **style)
        axis.set_axis_off()


def _aspect(scene: Scene) -> float:
    time, (height, width) = len(scene.frames), scene.upright(scene.frames[0]).shape[:2]
    return (time * (width + ink.FRAME_GAP) - ink.FRAME_GAP) / height


def used_kinds(rows: Sequence[Row]) -> list[ink.Kind]:
    """Return the kinds of tokens that the examples of a sheet show."""
    used = np.zeros(len(ink.KINDS), bool)
    for row in rows:
        if row.view is not None:
            count = _example_count(row)
            kinds = ink.kinds_of(row.view.seen[:count], row.view.predicted[:count])
            used |= [tokens.any() for tokens in kinds]
    return [kind for kind, shown in zip(ink.KINDS, used, strict=True) if shown]


def _heading(canvas: _Canvas, title: str, kinds: Sequence[ink.Kind]) -> None:
    canvas.text(MARGIN, 0.25, title, TITLE_SIZE, weight="bold")
    patches = [
        Patch(
            facecolor=np.array(kind.colour) / 255,
            edgecolor=GREY,
            label=kind.meaning + " (this, or the picture)" * (kind.meaning == "seen"),
        )
        for kind in kinds
    ]
    canvas.figure.legend(
        handles=patches,
        ncols=len(patches),
        loc="upper left",
        bbox_to_anchor=(MARGIN / WIDTH, 1 - 0.58 / canvas.height),
        borderaxespad=0,
        borderpad=0,
        frameon=False,
        fontsize=TEXT_SIZE,
    )
    columns = {
        LEFT_EXAMPLES: "masks of several examples,\nplain and on a picture",
        LEFT_COVERAGE: "how often seen,\nmiddle tone: mean",
        LEFT_SPECTRUM: "power of the seen map over\ncycles per token, white = 1",
    }
    for left, words in columns.items():
        canvas.text(left, 0.98, words, color=GREY)


def _label(canvas: _Canvas, row: Row, top: float) -> None:
    size = NAME_SIZE * min(1, LONGEST_NAME / len(row.name))
    canvas.text(MARGIN, top, row.name, size, weight="bold")
    if row.view is None:
        note = textwrap.wrap(row.drawn.trouble, 3 * LETTERS)[:2]
        canvas.text(MARGIN, top + 0.25, "\n".join(note), color=GREY)
        return
    summary = textwrap.wrap(row.drawn.sampler.summary, LETTERS, max_lines=3, placeholder=" ...")
    canvas.text(MARGIN, top + 0.25, "\n".join(summary), color=GREY)
    measured = row.measured
    least, most, length = measured.hidden
    figures = [
        f"{grid_text(row.drawn.grid)}: {range_text(least, most)} of {length} hidden",
        f"{percent_text(measured.hidden_share)} % hidden, "
        f"{percent_text(measured.predicted_share)} % predicted",
        f"groups of {number_text(measured.group)} tokens, "
        f"distance {number_text(measured.distance)}",
    ]
    canvas.text(MARGIN, top + 0.3 + 0.165 * len(summary), "\n".join(figures))


def _examples(canvas: _Canvas, row: Row, top: float) -> None:
    _, columns, cell = arrangement(_aspect(row.scene))
    count = _example_count(row)
    pictures = [
        overlay(row.scene, row.view, example, plain=example < count // 2)
        for example in range(count)
    ]
    gap = max(1, round(PICTURE_GAP / cell * pictures[0].shape[0]))
    tiles = tile(pictures, columns=columns, gap=gap)
    height = cell * tiles.shape[0] / pictures[0].shape[0]
    canvas.picture(LEFT_EXAMPLES, top, height * tiles.shape[1] / tiles.shape[0], height, tiles)


def _example_count(row: Row) -> int:
    rows, columns, _ = arrangement(_aspect(row.scene))
    return min(rows * columns, len(row.view.seen))


def _coverage(canvas: _Canvas, row: Row, top: float) -> None:
    share = statistics.coverage(row.view.seen)
    mean = max(share.mean(), 1e-6)
    box = (LEFT_COVERAGE, top, COVERAGE, PICTURE)
    if share.ndim == 1:
        axis = canvas.axes(*box)
        axis.plot(share, color=LINE, linewidth=1)
        axis.set_ylim(0, max(2 * mean, 1.05 * share.max()))
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[["top", "right"]].set_visible(False)
    else:
        tones = _mosaic(share, row.scene)
        canvas.picture(*_fit(box, tones), tones, cmap="cividis", vmin=0, vmax=2 * mean)
    low, high = row.measured.coverage
    words = f"{100 * low:.1f} to {100 * high:.1f} %, p {p_text(row.measured.p_value)}"
    canvas.text(LEFT_COVERAGE, top + row.height + 0.03, words, TEXT_SIZE - 1)


def _mosaic(share: np.ndarray, scene: Scene) -> np.ndarray:
    """Return the coverage of an image, or of a clip's time steps in rows, separated by nan."""
    if share.ndim == 2:
        return scene.upright(share)
    columns = int(np.ceil(np.sqrt(len(share))))
    missing = -len(share) % columns
    padded = np.pad(share, ((0, missing), (0, 1), (0, 1)), constant_values=np.nan)
    padded[len(share) :] = np.nan
    rows = [np.concatenate(padded[i : i + columns], 1) for i in range(0, len(padded), columns)]
    return np.concatenate(rows)[:-1, :-1]


def _fit(box: tuple[float, float, float, float], tones: np.ndarray) -> tuple[float, ...]:
    """Return the largest part of a box, at its upper left, in the shape of a coverage map.

    A very narrow map is stretched to a quarter of the box, so that it can be seen.
    """
    left, top, width, height = box
    rows, columns = tones.shape
    scale = min(width / columns, height / rows)
    return left, top, max(scale * columns, width / 4), max(scale * rows, height / 4)


def _spectrum(canvas: _Canvas, row: Row, top: float) -> None:
    power = statistics.power_spectrum(row.view.seen)
    mean = np.nanmean(power) if np.isfinite(power).any() else np.nan
    axis = canvas.axes(LEFT_SPECTRUM, top, SPECTRUM, PICTURE)
    axis.axhline(1, color="#999999", linewidth=1, linestyle="--")
    if mean > 0:
        frequency, rings = statistics.ring_mean(power / mean, rings=RINGS)
        measured = ~np.isnan(rings)
        axis.plot(frequency[measured], rings[measured].clip(*POWERS), color=LINE, linewidth=2)
    axis.set_yscale("log")
    axis.set_ylim(*POWERS)
    axis.set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
    axis.set_xlim(0, 0.5)
    axis.set_xticks([0, 0.25, 0.5], ["0", "0.25", "0.5"])
    axis.minorticks_off()
    axis.tick_params(labelsize=TEXT_SIZE - 1)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="#eeeeee")
    axis.set_axisbelow(True)
