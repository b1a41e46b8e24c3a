"""Writing checkpoints: Orbax composites of state, data position and config, with checksums.

Layout: `<workdir>/checkpoints/<step>/` (Orbax), `<workdir>/checkpoints/checksums/<step>.json`, and
`<workdir>/checkpoints-damaged/` for checkpoints that could not be read.

A folder named after a step is a complete checkpoint at every instant: Orbax writes under another
name and renames, and a checkpoint is renamed before it is removed. The next process that opens the
folder to write removes what a killed one left under other names.

Old checkpoints are removed only after a newer one of this process is committed and has its
checksums, so that a command that is refused, or fails before its first save, removes none.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from maskmim import errors
from maskmim.checkpoints import checksums
from maskmim.checkpoints.reader import (
    DAMAGED,
    FOLDER,
    FOLDERS_FIRST,
    SUMS,
    CheckpointError,
    Restored,
    checksums_path,
    make_handler,
    not_from_orbax,
    stored_steps,
    try_restore,
)
from maskmim.errors import first_line
from maskmim.runtime import processes
from maskmim.types import Tree

log = logging.getLogger("maskmim")

# How long processes wait for one of them to move a damaged checkpoint.
MOVE_SECONDS = 300
UNFINISHED = ".orbax-checkpoint-tmp"
REMOVED = ".removed"


class NotSaved(errors.UserError, OSError):
    """The last state of a training could not be written; exit code STORAGE."""

    exit_code = errors.STORAGE


class Checkpoints:
    """The checkpoints of one work directory, written in the background, newest restored first.

    For the one training that writes there; readers use `maskmim.checkpoints.reader.restore_newest`.

    keep_latest: number of newest checkpoints to keep, at least 1.
    keep_every:  also keep the steps divisible by it (0: none).
    failures:    number of saves that failed in this process.
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
        self._writer = ocp.AsyncCheckpointer(make_handler(), async_options=FOLDERS_FIRST)
        logging.getLogger("absl").addFilter(not_from_orbax)
        drop_closed_loops()
        if processes.is_main():
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.folder, keep_latest)

    @property
    def latest(self) -> int | None:
        """Return the newest step that is saved completely."""
        return max(stored_steps(self.folder), default=None)

    def save(self, step: int, state: Tree, data: Mapping[str, Any], config: str) -> None:
        """Start saving, and return as soon as the state is copied; keep a step that exists.

        Waits for the save before it. A save that fails adds to `failures` and logs a warning; older
        checkpoints stay, and later saves are tried as usual.
        """
        self.wait()
        if step in stored_steps(self.folder):
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
        """Wait until every started save is on disk or has failed."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        """Finish saving and release the files; raise NotSaved if the last save failed."""
        self.wait()
        self._writer.close()
        if self._unsaved is not None:
            raise NotSaved(
                f"step {self._unsaved} could not be saved in {self.folder} (the reason is above): "
                f"{self._newest()}. Make room, then run the same command to continue from there"
            )

    def restore(self, like: Tree) -> Restored | None:
        """Restore the newest readable checkpoint, laid out as `like`; return None without any.

        like: a tree of jax.ShapeDtypeStruct with the shardings that the arrays get, on any mesh.
        Moves a damaged checkpoint aside with a warning and tries the one before it. Writes missing
        checksums; removes nothing, as the caller may still refuse what it finds.
        Raises CheckpointError where there are checkpoints and none can be read, also where all were
        moved aside by an earlier start, or where only one is left whose removal was cut off.
        """
        self.wait()
        tried: list[int] = []
        while left := [step for step in stored_steps(self.folder) if step not in tried]:
            step = left[-1]
            restored, problem = try_restore(self.folder, step, like)
            if restored is not None:
                self._begin(self._seal_if_needed, step)
                return restored
            tried.append(step)
            if processes.is_main():
                move_to_damaged(self.folder, step, problem)
            processes.barrier(f"aside {step}", seconds=MOVE_SECONDS)
        damaged = self.folder.with_name(DAMAGED)
        if tried or (damaged.is_dir() and any(damaged.iterdir())):
            raise CheckpointError(
                f"no checkpoint of this run can be read: the damaged ones are in {damaged}, "
                f"{self.folder} has none. Copy a good one into it, or begin a new run in another "
                f"--workdir; to begin anew in this one, remove {DAMAGED}"
            )
        if removed := sorted(path.name for path in self.folder.glob(f"*{REMOVED}")):
            raise CheckpointError(
                f"{self.folder} has no checkpoint but {', '.join(removed)}, whose removal was cut "
                f"off: rename it to {removed[-1].removesuffix(REMOVED)} to continue from it, or "
                "remove it to begin anew"
            )
        return None

    def _begin(self, work: Callable[[int], object], step: int) -> None:
        self._thread = threading.Thread(target=work, args=(step,), name=f"checkpoint {step}")
        self._thread.start()

    def _finish(self, step: int) -> None:
        """Wait for Orbax to commit a step, write its checksums, then remove older steps."""
        try:
            self._writer.wait_until_finished()
        except Exception as error:
            self._failed(step, error)
            return
        self._unsaved = None
        if self._seal_if_needed(step) and processes.is_main():
            for old in steps_to_remove(stored_steps(self.folder), *self._keep, saved=step):
                remove_checkpoint(self.folder, old)
            remove_leftovers(self.folder, self._keep[0])

    def _seal_if_needed(self, step: int) -> bool:
        """Write the checksums of a committed step where they are missing; return whether it has."""
        if processes.is_main() and checksums.read(checksums_path(self.folder, step)) is None:
            return self._seal(step)
        return True

    def _failed(self, step: int, error: Exception) -> None:
        self.failures += 1
        self._unsaved = step
        if processes.is_main():  # half a save takes the room that the next one needs
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

    def _seal(self, step: int) -> bool:
        """Flush a committed step to the disk, then write its checksums; return whether it could."""
        try:
            checksums.sync_to_disk(self.folder / str(step))
            sums = checksums.hash_files(self.folder / str(step))
            copies = checksums.copy_small_files(self.folder / str(step))
            checksums.write(checksums_path(self.folder, step), sums, copies)
        except OSError as error:
            log.warning(
                "checkpoint %d is saved, but its checksums are not (%s): older checkpoints stay",
                step,
                error,
            )
            return False
        return True


def steps_to_remove(
    steps: list[int], keep_latest: int, keep_every: int, *, saved: int
) -> list[int]:
    """Return the steps to remove after `saved` was; `steps` are ascending.

    Later steps than `saved` are not of this process: they neither count nor go.
    """
    old = [step for step in steps if step <= saved][:-keep_latest]
    return [step for step in old if not (keep_every and step % keep_every == 0)]


def remove_checkpoint(folder: Path, step: int) -> None:
    """Remove a checkpoint; its name goes before its first file, so that it is never half there."""
    renamed = folder / f"{step}{REMOVED}"
    try:
        (folder / str(step)).rename(renamed)
        checksums_path(folder, step).unlink(missing_ok=True)
    except OSError as error:
        log.warning("the old checkpoint %d could not be removed (%s)", step, error)
    shutil.rmtree(renamed, ignore_errors=True)


def remove_leftovers(folder: Path, keep_latest: int) -> None:
    """Remove what killed processes left: half saves, half removals, checksums without a step.

    A half removal stays where fewer than `keep_latest` checkpoints with checksums are left.
    """
    sums = [checksums.read(checksums_path(folder, step)) for step in stored_steps(folder)]
    enough = len(sums) - sums.count(None) >= keep_latest
    for path in folder.iterdir():
        if UNFINISHED in path.name or (enough and path.name.endswith(REMOVED)):
            shutil.rmtree(path, ignore_errors=True)
    sums_files = {f"{step}.json" for step in stored_steps(folder)}
    for path in (folder / SUMS).glob("*"):
        if path.name not in sums_files:
            path.unlink(missing_ok=True)


def drop_closed_loops() -> None:
    """Print no traceback of a storage thread that finds the event loop of its save closed.

    Where one array cannot be written, the save ends with that error, which is reported, and every
    other array that is still being written would print one.
    """
    hook = sys.unraisablehook
    if getattr(hook, "drops_closed_loops", False):
        return

    def drop(unraisable: sys.UnraisableHookArgs) -> None:
        is_closed_loop = str(unraisable.exc_value) == "Event loop is closed"
        if not (is_closed_loop and unraisable.object is None):
            hook(unraisable)

    drop.drops_closed_loops = True  # type: ignore[attr-defined]
    sys.unraisablehook = drop


def move_to_damaged(folder: Path, step: int, problem: str) -> None:
    """Move a damaged checkpoint to the folder `checkpoints-damaged`, under a free name."""
    target = folder.with_name(DAMAGED)
    target.mkdir(exist_ok=True)
    path, copies = target / str(step), 1
    while path.exists():
        path = target / f"{step}-{copies}"
        copies += 1
    log.warning("checkpoint %d is unreadable (%s): moved to %s", step, problem, path)
    (folder / str(step)).rename(path)
    checksums_path(folder, step).unlink(missing_ok=True)
