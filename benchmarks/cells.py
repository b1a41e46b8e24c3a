"""Commands that run the cells of a comparison whose results are not there yet."""

from __future__ import annotations

import argparse
import fnmatch
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from maskmim import errors


class Named(Protocol):
    """A cell: its name is that of its folder below the work directory."""

    @property
    def name(self) -> str:
        """Return it."""
        ...


Cell = TypeVar("Cell", bound=Named)


def cell_parser(description: str | None, workdir: str) -> argparse.ArgumentParser:
    """Return a parser of --workdir, --only, --minutes and --keep; workdir: the default."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, default=Path(workdir))
    parser.add_argument("--only", nargs="+", default=["*"], metavar="CELL", help="or patterns")
    parser.add_argument("--minutes", type=float, default=0, help="begin no cell after so many")
    parser.add_argument("--keep", action="store_true", help="keep the folders of the runs")
    return parser


def check_patterns(
    parser: argparse.ArgumentParser, patterns: Iterable[str], cells: Iterable[Named]
) -> None:
    """End the program with a sentence where a pattern of --only names no cell."""
    names = [cell.name for cell in cells]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            parser.error(f"--only {pattern}: there is no such cell; cells are {', '.join(names)}")


def is_chosen(cell: Named, patterns: Iterable[str]) -> bool:
    """Return whether a pattern names a cell."""
    return any(fnmatch.fnmatch(cell.name, pattern) for pattern in patterns)


def run_cells(
    cells: Iterable[Cell],
    options: argparse.Namespace,
    *,
    result_file: Callable[[Cell], Path],
    run: Callable[[Cell], int],
) -> int:
    """Run the cells that have no result, one after the other, and return an exit code.

    options: of `cell_parser`. run: returns the exit code of a cell, which ends the others unless it
    is 0; the folder of a cell that is done is removed without --keep.
    """
    started = time.monotonic()
    for cell in cells:
        if result_file(cell).exists():
            continue
        if options.minutes and time.monotonic() - started > 60 * options.minutes:
            print(f"{options.minutes} minutes are over; the same command continues")
            return errors.DONE
        print(f"{cell.name} ...", flush=True)
        code = run(cell)
        if code != errors.DONE:
            print(f"{cell.name}: exit code {code}; the same command continues")
            return code
        if not options.keep:
            shutil.rmtree(options.workdir / cell.name)
    return errors.DONE
