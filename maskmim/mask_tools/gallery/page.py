"""The gallery's folder: a table of all samplers, and sheets of pictures module by module."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from maskmim.errors import count_of
from maskmim.files import save_png
from maskmim.mask_tools.discovery import Sampler
from maskmim.mask_tools.gallery import examples
from maskmim.mask_tools.gallery.draw import default_grid, draw_sampler, readable_hints
from maskmim.mask_tools.gallery.hints import compute_hint
from maskmim.mask_tools.gallery.scene import Scene, photograph_scene, spectrogram_scene
from maskmim.mask_tools.gallery.sheet import Row, draw_sheet, sheet_rows
from maskmim.mask_tools.gallery.table import LEGEND, markdown_table, measure_masks, table_cells
from maskmim.reporting.progress import Bar, format_duration
from maskmim.runtime import activity
from maskmim.types import Array

MASKS = 1024
ROWS_OF_A_SHEET = 8
BAR = "{n}/{total} |{bar}| {desc}"


SceneMaker = Callable[[tuple[int, ...]], Scene]


class GallerySettings(NamedTuple):
    """The settings of every sampler.

    grid: token grid; None for a grid that each sampler serves.
    """

    grid: tuple[int, ...] | None
    ratio: float
    seed: int


class GalleryEntry(NamedTuple):
    """A sampler's rows of the sheets and of the table, and notes why it has none."""

    sheet_rows: list[Row]
    table_rows: list[tuple[str, ...]]
    notes: list[str]


def write_gallery(samplers: Sequence[Sampler], out: Path, settings: GallerySettings) -> str:
    """Write sheets and gallery.md into a folder; return the table and the notes as text.

    samplers: sorted by name, so that those of a module follow each other.
    """
    table_rows, notes, files = [], [], []
    bar = Bar(total=len(samplers), disable=not sys.stderr.isatty(), bar_format=BAR)
    with bar:
        for family, members in groupby(samplers, lambda sampler: sampler.name.rpartition(".")[0]):
            start, rows = time.perf_counter(), []
            for sampler in members:
                bar.set_description_str(sampler.name)
                activity.detail(sampler.name)
                entry = draw_entry(sampler, settings)
                rows += entry.sheet_rows
                table_rows += entry.table_rows
                notes += entry.notes
                bar.update()
            sheets = save_sheets(family, rows, out)
            files += sheets
            took = format_duration(time.perf_counter() - start)
            bar.write(
                f"{', '.join(map(str, sheets))}: {count_of(len(rows), 'row')}, {took}",
                file=sys.stderr,
            )
    text = "\n\n".join([markdown_table(table_rows), *_notes_text(notes)])
    (out / "gallery.md").write_text(page_text(text, files, settings), encoding="utf-8")
    return text


def draw_entry(sampler: Sampler, settings: GallerySettings) -> GalleryEntry:
    """Draw and measure the masks of a sampler."""
    grid = settings.grid or default_grid(sampler)
    spectral = examples.example_setting(sampler.name, examples.SPECTROGRAMS, False)
    make = spectrogram_scene if spectral else photograph_scene
    hints = {name: _hint(make, grid, name) for name in readable_hints(sampler)}
    drawn = draw_sampler(
        sampler, grid, hints, ratio=settings.ratio, seed=settings.seed, count=MASKS
    )
    measured = [measure_masks(view) for view in drawn.views]
    table_rows = [table_cells(drawn, view, each) for view, each in enumerate(measured)]
    notes = [f"{sampler.name}: {drawn.trouble}"] if drawn.trouble else []
    return GalleryEntry(sheet_rows(drawn, _scene(make, grid), measured), table_rows, notes)


@functools.lru_cache(maxsize=8)
def _scene(make: SceneMaker, grid: tuple[int, ...]) -> Scene:
    return make(grid)


@functools.lru_cache(maxsize=64)
def _hint(make: SceneMaker, grid: tuple[int, ...], name: str) -> Array:
    return compute_hint(_scene(make, grid), name)


def save_sheets(family: str, rows: Sequence[Row], out: Path) -> list[Path]:
    """Write a family's rows on as few sheets as hold them: family.png, family-2.png, ..."""
    count = -(-len(rows) // ROWS_OF_A_SHEET)
    per_sheet = -(-len(rows) // count)
    paths = []
    for number in range(count):
        path = out / (f"{family}.png" if number == 0 else f"{family}-{number + 1}.png")
        module = rows[0].drawn.sampler.function.__module__
        title = module + (f", {number + 1} of {count}" if count > 1 else "")
        save_png(path, draw_sheet(title, rows[number * per_sheet : (number + 1) * per_sheet]))
        paths.append(path)
    return paths


def page_text(text: str, files: Sequence[Path], settings: GallerySettings) -> str:
    """Return the text of gallery.md: the table, the meaning of its columns, the sheets."""
    pictures = [f"## {path.stem}\n\n![{path.stem}]({path.name})" for path in files]
    about = (
        f"{MASKS:,} masks of each sampler at mask ratio {settings.ratio:g}, seed {settings.seed}. "
        "Made by `python -m maskmim.gallery`."
    )
    return "\n\n".join(["# Mask samplers", about, text, LEGEND, *pictures]) + "\n"


def _notes_text(notes: Sequence[str]) -> list[str]:
    return ["Not drawn:\n\n" + "\n".join(f"- {note}" for note in notes)] if notes else []
