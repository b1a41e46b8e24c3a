"""Writes the gallery: draws samplers one after another, their sheets module by module, a table."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from maskmim.files import save_png
from maskmim.mask_tools.discovery import Sampler
from maskmim.mask_tools.gallery import examples
from maskmim.mask_tools.gallery.draw import draw, grid_of, hints_wanted
from maskmim.mask_tools.gallery.hints import hint_of
from maskmim.mask_tools.gallery.scene import Scene, scene_of, spectrogram_of
from maskmim.mask_tools.gallery.sheet import Row, rows_of, sheet
from maskmim.mask_tools.gallery.table import LEGEND, cells, facts, table
from maskmim.reporting.progress import Bar, duration
from maskmim.types import Array

MASKS = 1024
ROWS_OF_A_SHEET = 8
BAR = "{n}/{total} |{bar}| {desc}"


SceneMaker = Callable[[tuple[int, ...]], Scene]


class Asked(NamedTuple):
    """What the samplers are given; grid None: each one that it serves."""

    grid: tuple[int, ...] | None
    ratio: float
    seed: int


class Shown(NamedTuple):
    """A sampler's rows of the sheets and of the table, and why it has none."""

    rows: list[Row]
    cells: list[tuple[str, ...]]
    notes: list[str]


def write(samplers: Sequence[Sampler], out: Path, asked: Asked) -> str:
    """Writes sheets and gallery.md into a folder; returns the table with what was left out.

    samplers: sorted by name, so that those of a module follow each other.
    """
    everything, files = Shown([], [], []), []
    bar = Bar(total=len(samplers), disable=not sys.stderr.isatty(), bar_format=BAR)
    with bar:
        for family, members in groupby(samplers, lambda sampler: sampler.name.split(".")[0]):
            began, rows = time.perf_counter(), []
            for sampler in members:
                bar.set_description_str(sampler.name)
                shown = show(sampler, asked)
                rows += shown.rows
                everything.cells.extend(shown.cells)
                everything.notes.extend(shown.notes)
                bar.update()
            sheets = save_sheets(family, rows, out)
            files += sheets
            took = duration(time.perf_counter() - began)
            bar.write(f"{', '.join(map(str, sheets))}: {len(rows)} rows, {took}", file=sys.stderr)
    text = "\n\n".join([table(everything.cells), *_left_out(everything.notes)])
    (out / "gallery.md").write_text(page(text, files, asked), encoding="utf-8")
    return text


def show(sampler: Sampler, asked: Asked) -> Shown:
    """Draws and measures a sampler."""
    grid = asked.grid or grid_of(sampler)
    spectral = examples.of(sampler.name, examples.SPECTROGRAMS, False)
    make = spectrogram_of if spectral else scene_of
    hints = {name: _hint(make, grid, name) for name in hints_wanted(sampler)}
    drawn = draw(sampler, grid, hints, ratio=asked.ratio, seed=asked.seed, count=MASKS)
    found = [facts(view) for view in drawn.views]
    lines = [cells(drawn, place, each) for place, each in enumerate(found)]
    notes = [f"{sampler.name}: {drawn.trouble}"] if drawn.trouble else []
    return Shown(rows_of(drawn, _scene(make, grid), found), lines, notes)


@functools.lru_cache(maxsize=8)
def _scene(make: SceneMaker, grid: tuple[int, ...]) -> Scene:
    return make(grid)


@functools.lru_cache(maxsize=64)
def _hint(make: SceneMaker, grid: tuple[int, ...], name: str) -> Array:
    return hint_of(_scene(make, grid), name)


def save_sheets(family: str, rows: Sequence[Row], out: Path) -> list[Path]:
    """Writes a family's rows on as few sheets as hold them: family.png, family-2.png, ..."""
    count = -(-len(rows) // ROWS_OF_A_SHEET)
    each = -(-len(rows) // count)
    paths = []
    for number in range(count):
        path = out / (f"{family}.png" if number == 0 else f"{family}-{number + 1}.png")
        title = f"maskmim.masks.{family}" + (f", {number + 1} of {count}" if count > 1 else "")
        save_png(path, sheet(title, rows[number * each : (number + 1) * each]))
        paths.append(path)
    return paths


def page(text: str, files: Sequence[Path], asked: Asked) -> str:
    """gallery.md: the table, what its columns mean, the sheets."""
    pictures = [f"## {path.stem}\n\n![{path.stem}]({path.name})" for path in files]
    about = (
        f"{MASKS:,} masks of each sampler, {100 * asked.ratio:g} % of the tokens asked to be "
        f"hidden, seed {asked.seed}. Made by `python -m maskmim.gallery`."
    )
    return "\n\n".join(["# Mask samplers", about, text, LEGEND, *pictures]) + "\n"


def _left_out(notes: Sequence[str]) -> list[str]:
    return ["Not drawn:\n\n" + "\n".join(f"- {note}" for note in notes)] if notes else []
