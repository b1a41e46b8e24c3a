"""Finding the runs below some folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from maskmim.errors import UserError
from maskmim.reporting.runs.summary import RunSummary, is_run, read_run

# Folders of a work directory, in which no run lies.
INNER = ("checkpoints", "checkpoints-damaged", "events", "images", "profile", "programs", "wandb")


def find_runs(folders: Sequence[str]) -> list[RunSummary]:
    """Return the runs in and below some folders, by name; links to folders are followed.

    A run's name is its path below the folder, or, of several folders, below what they share.
    Raises UserError for a folder that does not exist, and where no run is found.
    """
    roots = [Path(os.path.expanduser(folder)) for folder in folders]
    for root in roots:
        if not root.is_dir():
            raise UserError(f"there is no folder {root}: give folders of runs, such as runs/")
    places = {place.resolve(): place for root in roots for place in _places(root)}
    if not places:
        listed = " or ".join(map(str, roots))
        raise UserError(
            f"no run in or below {listed}: give a folder in which a --workdir of maskmim.train is"
        )
    above = os.path.commonpath(roots if len(roots) == 1 else list(places))
    runs = [read_run(place, _name(place, above)) for place in places.values()]
    return sorted(runs, key=lambda run: run.name)


def _places(root: Path) -> Iterator[Path]:
    """Yield the work directories in and below a folder."""
    seen: set[Path] = set()
    for folder, inner, _ in os.walk(root, followlinks=True):
        place = Path(folder)
        if place.resolve() in seen:  # a link that leads back up
            inner.clear()
            continue
        seen.add(place.resolve())
        inner[:] = sorted(n for n in inner if n not in INNER and not n.startswith("."))
        if is_run(place):
            yield place


def _name(place: Path, above: str) -> str:
    name = os.path.relpath(place.resolve(), Path(above).resolve())
    return place.resolve().name if name == "." else name
