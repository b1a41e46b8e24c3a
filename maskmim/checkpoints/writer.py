"""Checkpoints: Orbax composites of state, data position and config, with checksums of the files.

Layout: `<workdir>/checkpoints/<step>/` (Orbax), `<workdir>/checkpoints/checksums/<step>.json`, and
`<workdir>/checkpoints-damaged/` for what could not be read and was set aside.

A name that is a step is a whole checkpoint at every instant: Orbax writes under another name and
renames, and one that is removed is renamed first. What a killed process leaves under other names is
cleaned up by the next one that opens the folder to write.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from maskmim import errors
from maskmim.checkpoints import checksums
from maskmim.checkpoints.reader import (
    FOLDER,
    FOLDERS_FIRST,
    SUMS,
    CheckpointError,
    Restored,
    attempt,
    handler,
    layout,
    steps,
    sums_of,
    told_by_us,
)
from maskmim.errors import first_line
from maskmim.runtime import processes
from maskmim.types import Tree

__all__ = ["CheckpointError", "Checkpoints", "NotSaved", "Restored", "layout"]

log = logging.getLogger("maskmim")

# Processes wait so long for one of them to move a damaged checkpoint.
MOVE_SECONDS = 300
UNFINISHED = ".orbax-checkpoint-tmp"
REMOVED = ".removed"


class NotSaved(errors.UserError, OSError):
    """The last state of a training could not be written; exit code STORAGE."""

    exit_code = errors.STORAGE


class Checkpoints:
    """The checkpoints of one work directory, written in the background, newest restored first.

    For the one training that writes there; readers use `maskmim.checkpoints.reader.newest`.

    keep_latest: so many newest ones stay, at least 1. keep_every: steps divisible by it stay for
                 ever (0: none).
    failures:    how many saves have failed in this process.
    """

    def __init__(self, workdir: Path, *, keep_latest: int = 2, keep_every: int = 0):
        if keep_latest < 1:
            raise CheckpointError(f"checkpoint.keep_latest is {keep_latest}: keep 1 or more")
        self.folder = Path(workdir).absolute() / FOLDER
        self.sums = self.folder / SUMS
        self.failures = 0
        self._keep = keep_latest, keep_every
        self._unsaved: int | None = None
        self._thread: threading.Thread | None = None
        self._writer = ocp.AsyncCheckpointer(handler(), async_options=FOLDERS_FIRST)
        logging.getLogger("absl").addFilter(told_by_us)
        if processes.leads():
            self.folder.mkdir(parents=True, exist_ok=True)
            clean(self.folder)

    @property
    def latest(self) -> int | None:
        """The newest step that was saved completely."""
        return max(steps(self.folder), default=None)

    def save(self, step: int, state: Tree, data: Mapping[str, Any], config: str) -> None:
        """Starts saving; returns as soon as the state is copied. A step that exists is kept.

        Waits for the save before it. A save that fails is counted in `failures` and warned of, the
        checkpoints before it stay, and the next one is tried as if nothing had happened.
        """
        self.wait()
        if step in steps(self.folder):
            return
        items = ocp.args.Composite(
            state=ocp.args.PyTreeSave(state),
            data=ocp.args.JsonSave(dict(data)),
            config=ocp.args.JsonSave(json.loads(config)),
        )
        try:
            self._writer.save(self.folder / str(step), args=items)
        except Exception as error:  # whatever the storage layers raise: OSError, ValueError, ...
            self._failed(step, error)
            return
        self._begin(self._finish, step)

    def wait(self) -> None:
        """Returns when all that was started is on disk, or has failed."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        """Finishes and lets go of the files; NotSaved where the last save failed."""
        self.wait()
        self._writer.close()
        if self._unsaved is not None:
            raise NotSaved(
                f"step {self._unsaved} could not be saved in {self.folder} (the reason is above): "
                f"{self._newest()}. Make room, and the same command continues from there"
            )

    def restore(self, like: Tree) -> Restored | None:
        """The newest readable checkpoint laid out as `like`; None where there is none.

        like: a tree of jax.ShapeDtypeStruct with the shardings that the arrays shall have, on any
        mesh. A checkpoint with damaged files is set aside with a warning and the one before it is
        tried; CheckpointError when there were some and none could be read. What was cut off after
        the commit is made good: checksums, and the removal of old steps.
        """
        self.wait()
        tried: list[int] = []
        while left := [step for step in steps(self.folder) if step not in tried]:
            step = left[-1]
            restored, problem = attempt(self.folder, step, like)
            if restored is not None:
                self._begin(self._complete, step)
                return restored
            tried.append(step)
            if processes.leads():
                set_aside(self.folder, step, problem)
            processes.barrier(f"aside {step}", seconds=MOVE_SECONDS)
        if tried:
            raise CheckpointError(
                f"none of the checkpoints {tried} in {self.folder} can be read; they were moved to "
                f"{self.folder}-damaged. Start again in a new work directory, or restore a copy"
            )
        return None

    def _begin(self, work: Callable[[int], None], step: int) -> None:
        self._thread = threading.Thread(target=work, args=(step,), name=f"checkpoint {step}")
        self._thread.start()

    def _finish(self, step: int) -> None:
        """Waits for Orbax to commit a step."""
        try:
            self._writer.wait_until_finished()
        except Exception as error:
            self._failed(step, error)
            return
        self._unsaved = None
        self._complete(step)

    def _complete(self, step: int) -> None:
        """What follows a commit, or was cut off after it: checksums, then removing old steps."""
        if not processes.leads():
            return
        if checksums.read(sums_of(self.folder, step)) is None:
            self._seal(step)
        for old in superseded(steps(self.folder), *self._keep):
            remove(self.folder, old)

    def _failed(self, step: int, error: Exception) -> None:
        self.failures += 1
        self._unsaved = step
        if processes.leads():  # its half takes the room that the next one needs
            shutil.rmtree(self.folder / f"{step}{UNFINISHED}", ignore_errors=True)
        log.warning(
            "checkpoint %d could not be saved (%s: %s): training goes on and the next save tries "
            "again; %s; failed saves so far: %d",
            step,
            type(error).__name__,
            first_line(error),
            self._newest(),
            self.failures,
        )

    def _newest(self) -> str:
        return "nothing is saved" if self.latest is None else f"the newest is {self.latest}"

    def _seal(self, step: int) -> None:
        """Writes the checksums of a committed step, which is on the disk when they are there."""
        try:
            checksums.sync(self.folder / str(step))
            sums = checksums.of_folder(self.folder / str(step))
            checksums.write(sums_of(self.folder, step), sums)
        except OSError as error:
            log.warning("checkpoint %d is saved, but its checksums are not (%s)", step, error)


def superseded(found: list[int], keep_latest: int, keep_every: int) -> list[int]:
    """Which of the steps found, ascending, are to be removed."""
    return [step for step in found[:-keep_latest] if not (keep_every and step % keep_every == 0)]


def remove(folder: Path, step: int) -> None:
    """Removes a step, so that its name is gone before the first of its files is."""
    doomed = folder / f"{step}{REMOVED}"
    try:
        (folder / str(step)).rename(doomed)
        sums_of(folder, step).unlink(missing_ok=True)
    except OSError as error:
        log.warning("the old checkpoint %d could not be removed (%s)", step, error)
    shutil.rmtree(doomed, ignore_errors=True)


def clean(folder: Path) -> None:
    """Removes what killed processes left: halves of saves and of removals, sums of no step."""
    for path in folder.iterdir():
        if UNFINISHED in path.name or path.name.endswith(REMOVED):
            shutil.rmtree(path, ignore_errors=True)
    kept = {f"{step}.json" for step in steps(folder)}
    for path in (folder / SUMS).glob("*"):
        if path.name not in kept:
            path.unlink(missing_ok=True)


def set_aside(folder: Path, step: int, problem: str) -> None:
    """Moves a damaged step to the folder `checkpoints-damaged`, under a name that is free."""
    target = Path(f"{folder}-damaged")
    target.mkdir(exist_ok=True)
    place, copies = target / str(step), 1
    while place.exists():
        place = target / f"{step}-{copies}"
        copies += 1
    log.warning("checkpoint %d is unreadable (%s): moved to %s", step, problem, place)
    (folder / str(step)).rename(place)
    sums_of(folder, step).unlink(missing_ok=True)
