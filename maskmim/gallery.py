"""Shows every sampler of maskmim.masks: a list, sheets of pictures, a table of statistics.

`--list` says in one line each what the samplers are. Without it, sheets (PNG, one or more for each
module) and the table (gallery.md) are written to --out, and the table is printed too. Masks are
drawn on one of the embedded photographs; hints that informed samplers read are simple facts of that
photograph, see maskmim/mask_tools/gallery/hints.py, and half of the training counts as done.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from maskmim import errors
from maskmim.mask_tools.discovery import Sampler, samplers
from maskmim.runtime import exits

AXES = "axes: 1 sequence, 2 image or spectrogram, 3 video or volume"


class GalleryError(errors.UserError, ValueError):
    """A gallery that cannot be drawn as asked."""


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = _parser().parse_args(argv)
    grid = grid_from(options.grid)
    found = chosen(samplers(), options.only, grid)
    if options.list:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print(listing(found, width))
        return errors.DONE
    if options.out.exists() and not options.out.is_dir():
        raise GalleryError(f"{options.out} is no folder: give --out another")
    if not 0 < options.ratio < 1:
        raise GalleryError(f"--ratio {options.ratio}: a share of hidden tokens between 0 and 1")
    # Not at the top: drawing takes a second to import, which the list need not wait for.
    from maskmim.mask_tools.gallery.page import Asked, write

    asked = Asked(grid, options.ratio, options.seed)
    print(write(found, options.out, asked))
    return errors.DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m maskmim.gallery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--list", action="store_true", help="list the samplers and draw nothing")
    parser.add_argument("--out", type=Path, default=Path("gallery"), help="folder to write")
    parser.add_argument(
        "--only", default="", metavar="PREFIX", help="only samplers whose names start so"
    )
    parser.add_argument(
        "--grid",
        default="",
        help="token grid, such as 14x14 or 8x14x14, and only samplers that serve its number of "
        "axes; default: for each sampler one that it serves",
    )
    parser.add_argument("--ratio", type=float, default=0.75, help="share of hidden tokens")
    parser.add_argument("--seed", type=int, default=0, help="of the masks")
    return parser


def chosen(found: Sequence[Sampler], only: str, grid: tuple[int, ...] | None) -> list[Sampler]:
    """The samplers with a prefix that serve a grid's number of axes; GalleryError for none."""
    named = [sampler for sampler in found if sampler.name.startswith(only)]
    if not named:
        modules = sorted({sampler.name.split(".")[0] for sampler in found})
        raise GalleryError(f"--only {only}: no sampler starts so; modules: {', '.join(modules)}")
    serving = [sampler for sampler in named if grid is None or len(grid) in sampler.axes]
    if not serving:
        served = sorted({str(axes) for sampler in named for axes in sampler.axes})
        raise GalleryError(
            f"--grid: {only}* serve grids with {' or '.join(served)} axes, not with {len(grid)}"
        )
    return serving


def grid_from(text: str) -> tuple[int, ...] | None:
    """A token grid from text such as 14x14, None from ''; GalleryError where that cannot be."""
    if not text:
        return None
    try:
        grid = tuple(int(part) for part in text.replace(",", "x").split("x"))
    except ValueError:
        grid = ()
    if not 1 <= len(grid) <= 3 or min(grid) < 1:
        raise GalleryError(f"--grid {text}: one to three numbers of tokens, such as 14x14")
    return grid


def listing(found: Sequence[Sampler], width: int | None) -> str:
    """One sampler a line, in aligned columns; cut to `width` columns unless it is None."""
    lines = [("sampler", "axes", "hints", "what it does")]
    for sampler in found:
        axes = " ".join(map(str, sampler.axes))
        what = sampler.summary.split(". ")[0]
        lines.append((sampler.name, axes, ", ".join(sampler.needs) or "-", what))
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
