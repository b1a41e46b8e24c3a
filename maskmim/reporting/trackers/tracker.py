"""What a tracker is, and who a run is to it."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from maskmim.errors import UserError, first_line
from maskmim.files import write_atomic

# The file of a work directory that keeps the id under which trackers know its run.
ID_FILE = "tracker_id.txt"


class TrackerError(UserError):
    """A tracker that cannot be used as the config asks."""


class Identity(NamedTuple):
    """A run to its trackers.

    id:      text of 12 hex digits, kept in the work directory, the same in every start of the run.
    name:    of the work directory, for people.
    workdir: where a tracker may keep files.
    """

    id: str
    name: str
    workdir: Path


class Tracker(NamedTuple):
    """The functions of a tracker, called one at a time in a thread of the tracker's own.

    start: (config, identity, resumed) opens the run, or continues the one with this id.
    write: (step, {metric: number}) adds metrics; steps ascend, but after a kill some come again.
    close: () sends what is left and ends this start of the run.
    image: (step, name, picture u8[H, W, 3]) adds a picture; None where the tracker takes none.
    Each may raise anything: it is counted, and training goes on.
    """

    start: Callable[[ConfigDict, Identity, bool], None]
    write: Callable[[int, Mapping[str, float]], None]
    close: Callable[[], None]
    image: Callable[[int, str, np.ndarray], None] | None = None


def import_tracker(module: str) -> ModuleType:
    """Import the library of a tracker, whose package has its name.

    Raises TrackerError where it is missing or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise _broken(module, error) from error
        raise TrackerError(
            f"log.trackers uses {module}, which is not installed: pip install {module}, or "
            "leave this tracker out; metrics.jsonl and TensorBoard need nothing"
        ) from error
    except ImportError as error:
        raise _broken(module, error) from error


def _broken(module: str, error: ImportError) -> TrackerError:
    return TrackerError(
        f"log.trackers uses {module}, which cannot be imported ({first_line(error)}): "
        f"pip install --upgrade {module}, or leave this tracker out"
    )


def identify(workdir: Path, *, anew: bool) -> tuple[Identity, bool]:
    """Return who a run is, and whether trackers may know it from an earlier start.

    anew: the run begins at step 0, whatever was in the work directory before.
    Writes ID_FILE for a run without an id. Raises OSError where that is impossible.
    """
    path = Path(workdir) / ID_FILE
    name = Path(workdir).resolve().name
    stored = path.read_text(encoding="utf-8").strip() if path.exists() and not anew else ""
    if stored.isalnum():
        return Identity(stored, name, Path(workdir)), True
    fresh = uuid.uuid4().hex[:12]
    write_atomic(path, f"{fresh}\n")
    return Identity(fresh, name, Path(workdir)), False
