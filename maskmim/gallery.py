"""Show every sampler of maskmim.masks: a list, sheets of pictures, a table of statistics.

`--list` prints one line per sampler. Without it, sheets (PNG, one or more per module) and the table
(gallery.md) are written to --out, and the table is printed too. Masks are drawn on one of the
embedded photographs. Informed samplers read hints that are computed from that photograph, see
maskmim/mask_tools/gallery/hints.py; schedules are shown halfway through training.

example: python -m maskmim.gallery --only colour. --grid 14x14 --out sheets
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from maskmim import errors
from maskmim.config.command_line import Parser, number, path, whole_number
from maskmim.mask_tools.discovery import Sampler, sampler_at, samplers
from maskmim.runtime import activity, exits, processes

AXES = "axes: 1 sequence, 2 image or spectrogram, 3 video or volume"


class GalleryError(errors.UserError, ValueError):
    """Options of the gallery that do not fit."""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(argv)
    grid = parse_grid(options.grid)
    selected = select_samplers(samplers(), options.only, grid)
    if options.list:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print(list_text(selected, width))
        return errors.DONE
    if options.out.exists() and not options.out.is_dir():
        raise GalleryError(f"--out {options.out} is not a folder: give another")
    if not 0 < options.ratio < 1:
        raise GalleryError(f"--ratio {options.ratio}: give a share of tokens between 0 and 1")
    # Imported here, because drawing takes a second to import and the list does not need it.
    from maskmim.mask_tools.gallery.page import GallerySettings, write_gallery

    processes.check_devices()
    settings = GallerySettings(grid, options.ratio, options.seed)
    with_bar = sys.stderr.isatty()  # which tells enough
    with contextlib.nullcontext() if with_bar else activity.during("drawing the samplers"):
        text = write_gallery(selected, options.out, settings)
    print(text)
    return errors.DONE


def _parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="list the samplers and draw nothing")
    out_help = "folder to write, default: gallery"
    parser.add_argument("--out", type=path, default=Path("gallery"), help=out_help)
    parser.add_argument(
        "--only",
        default="",
        metavar="PREFIX",
        help="only samplers whose names start with PREFIX, or the path of your own sampler, such "
        "as my_package.stripes, whose folder is on PYTHONPATH",
    )
    parser.add_argument(
        "--grid",
        default="",
        help="token grid such as 14x14 or 8x14x14; only samplers that serve its number of axes "
        "are shown; default: for each sampler a grid that it serves",
    )
    parser.add_argument("--ratio", type=number, default=0.75, help="share of hidden tokens")
    parser.add_argument("--seed", type=whole_number, default=0, help="seed of the masks")
    return parser


def select_samplers(
    all_samplers: Sequence[Sampler], prefix: str, grid: tuple[int, ...] | None
) -> list[Sampler]:
    """Return the samplers with a prefix that serve the grid's number of axes.

    prefix: of names of maskmim's samplers, or the dotted path of any other sampler.
    Raises GalleryError where none does, BrickError where a path names no sampler.
    """
    named = [sampler for sampler in all_samplers if sampler.name.startswith(prefix)]
    modules = sorted({sampler.name.split(".")[0] for sampler in all_samplers})
    if not named and "." in prefix and prefix.split(".")[0] not in modules:
        named = [sampler_at(prefix)]
    if not named:
        raise GalleryError(
            f"--only {prefix}: no sampler's name starts with it; modules: {', '.join(modules)}"
        )
    serving = [sampler for sampler in named if grid is None or len(grid) in sampler.axes]
    if not serving:
        served = sorted({str(axes) for sampler in named for axes in sampler.axes})
        raise GalleryError(
            f"--grid: {prefix}* serve grids with {' or '.join(served)} axes, not with {len(grid)}"
        )
    return serving


def parse_grid(text: str) -> tuple[int, ...] | None:
    """Parse a token grid such as 14x14; None for ''.

    Raises GalleryError unless the text is one to three positive numbers.
    """
    if not text:
        return None
    try:
        grid = tuple(int(part) for part in text.replace(",", "x").split("x"))
    except ValueError:
        grid = ()
    if not 1 <= len(grid) <= 3 or min(grid) < 1:
        raise GalleryError(f"--grid {text}: give one to three numbers of tokens, such as 14x14")
    return grid


def list_text(selected: Sequence[Sampler], width: int | None) -> str:
    """Return one line per sampler, in aligned columns, cut to `width` columns unless it is None."""
    lines = [("sampler", "axes", "hints", "what it does")]
    for sampler in selected:
        axes = " ".join(map(str, sampler.axes))
        sentence = sampler.summary.split(". ")[0]
        lines.append((sampler.name, axes, ", ".join(sampler.needs) or "-", sentence))
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    texts = [
        "  ".join([*(part.ljust(size) for part, size in zip(line, widths, strict=False)), line[3]])
        for line in lines
    ]
    if width:
        texts = [text if len(text) <= width else text[: width - 3] + "..." for text in texts]
    return "\n".join([*texts, "", AXES])


if __name__ == "__main__":
    sys.exit(exits.run(main))
