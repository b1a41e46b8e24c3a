"""Checkpoints: Orbax composites of state, data position and config, with checksums of the files.

Layout: `<workdir>/checkpoints/<step>/` (Orbax), `<workdir>/checkpoints/checksums/<step>.json`, and
`<workdir>/checkpoints-damaged/` for what could not be read and was set aside.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from maskmim import hosts
from maskmim.exits import UserError
from maskmim.paths import named_leaves
from maskmim.types import Tree

log = logging.getLogger("maskmim")

# Processes wait so long for one of them to move a damaged checkpoint.
MOVE_SECONDS = 300


class CheckpointError(UserError, ValueError):
    """No usable checkpoint where one is needed."""


class Restored(NamedTuple):
    """A checkpoint: its step, the arrays, and the two JSON parts as dicts."""

    step: int
    state: Tree
    data: dict[str, Any]
    config: str


class Checkpoints:
    """The checkpoints of one work directory, written in the background, newest restored first.

    keep_latest: so many newest ones stay. keep_every: steps divisible by it stay for ever (0:
                 none).
    """

    def __init__(self, workdir: Path, *, keep_latest: int = 2, keep_every: int = 0):
        self.folder = Path(workdir).absolute() / "checkpoints"
        self.sums = self.folder / "checksums"
        self._options = ocp.CheckpointManagerOptions(
            max_to_keep=keep_latest,
            keep_period=keep_every or None,
            create=True,
            enable_async_checkpointing=True,
        )
        self._sealer: threading.Thread | None = None
        self._manager = self._open()

    def _open(self) -> ocp.CheckpointManager:
        handlers = {
            "state": ocp.StandardCheckpointHandler(),
            "data": ocp.JsonCheckpointHandler(),
            "config": ocp.JsonCheckpointHandler(),
        }
        return ocp.CheckpointManager(self.folder, options=self._options, item_handlers=handlers)

    @property
    def latest(self) -> int | None:
        """The newest step that was saved completely."""
        return self._manager.latest_step()

    def save(self, step: int, state: Tree, data: Mapping[str, Any], config: str) -> None:
        """Starts saving; returns as soon as the state is copied. A step that exists is kept."""
        if step == self.latest:
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            data=ocp.args.JsonSave(dict(data)),
            config=ocp.args.JsonSave(json.loads(config)),
        )
        self._join()
        self._manager.save(step, args=items)
        if hosts.leads():
            self._sealer = threading.Thread(target=self._seal, args=(step,), name="checksums")
            self._sealer.start()

    def wait(self) -> None:
        """Returns when all that was started is on disk."""
        self._manager.wait_until_finished()
        self._join()

    def close(self) -> None:
        """Finishes and lets go of the files."""
        self.wait()
        self._manager.close()

    def restore(self, like: Tree) -> Restored | None:
        """The newest readable checkpoint laid out as `like`; None where there is none.

        like: a tree of jax.ShapeDtypeStruct with the shardings that the arrays shall have, on any
        mesh. A checkpoint with damaged files is set aside with a warning and the one before it is
        tried; CheckpointError when there were some and none could be read.
        """
        tried = []
        while (step := self.latest) is not None:
            # Sums are read by one process; what one cannot read, all set aside.
            problem = self._damage(step) if hosts.leads() else None
            restored = None
            if hosts.every(problem is None):
                try:
                    self._compare(step, like)
                    restored = self._read(step, like)
                except CheckpointError:
                    raise
                except Exception as error:  # whatever the storage layers raise on broken files
                    problem = f"{type(error).__name__}: {first_line(error)}"
                if hosts.every(restored is not None):
                    return restored
            tried.append(step)
            self._set_aside(step, problem)
        if tried:
            raise CheckpointError(
                f"none of the checkpoints {tried} in {self.folder} can be read; they were moved to "
                f"{self.folder}-damaged. Start again in a new work directory, or restore a copy"
            )
        return None

    def _read(self, step: int, like: Tree) -> Restored:
        wanted = ocp.args.Composite(
            state=ocp.args.StandardRestore(like),
            data=ocp.args.JsonRestore(),
            config=ocp.args.JsonRestore(),
        )
        items = self._manager.restore(step, args=wanted)
        return Restored(step, items["state"], items["data"], json.dumps(items["config"]))

    def _compare(self, step: int, like: Tree) -> None:
        """CheckpointError where a sound checkpoint holds other arrays than are asked for."""
        stored = self._manager.item_metadata(step)["state"]
        found = {name: tuple(leaf.shape) for name, leaf in named_leaves(stored)}
        wanted = {name: tuple(leaf.shape) for name, leaf in named_leaves(like)}
        if found != wanted:
            lines = [
                f"{name}: {found.get(name, 'missing')} in the file, {wanted.get(name, 'none')} here"
                for name in sorted(found.keys() | wanted.keys())
                if found.get(name) != wanted.get(name)
            ]
            listed = "\n  ".join(
                [*lines[:5], *([f"and {len(lines) - 5} more"] if lines[5:] else [])]
            )
            raise CheckpointError(
                f"checkpoint {step} in {self.folder} is intact but holds other arrays than this "
                f"config builds:\n  {listed}\nUse the config that made it (config.json in the work "
                "directory), or another work directory"
            )

    def _damage(self, step: int) -> str | None:
        """What is wrong with the files of a step by their checksums; None where nothing is."""
        try:
            expected = json.loads((self.sums / f"{step}.json").read_text())
        except (OSError, json.JSONDecodeError):
            return None
        found = checksums(self.folder / str(step))
        bad = sorted(name for name in expected if found.get(name) != expected[name])
        return f"{len(bad)} damaged or missing files, first {bad[0]}" if bad else None

    def _set_aside(self, step: int, problem: str | None) -> None:
        self._manager.close()
        if hosts.leads():
            self._move(step, problem or "another process could not read it")
        hosts.barrier(f"aside {step}", seconds=MOVE_SECONDS)
        self._manager = self._open()

    def _move(self, step: int, problem: str) -> None:
        target = Path(f"{self.folder}-damaged")
        target.mkdir(exist_ok=True)
        place = target / str(step)
        copies = 1
        while place.exists():
            place = target / f"{step}-{copies}"
            copies += 1
        log.warning("checkpoint %d is unreadable (%s): moved to %s", step, problem, place)
        (self.folder / str(step)).rename(place)
        (self.sums / f"{step}.json").unlink(missing_ok=True)

    def _join(self) -> None:
        if self._sealer is not None:
            self._sealer.join()
            self._sealer = None

    def _seal(self, step: int) -> None:
        """Writes the checksums of a step once Orbax has committed it, and drops stale ones."""
        self._manager.wait_until_finished()
        self.sums.mkdir(exist_ok=True)
        folder = self.folder / str(step)
        if folder.exists():
            part = self.sums / f"{step}.json.part"
            part.write_text(json.dumps(checksums(folder), indent=1))
            part.rename(self.sums / f"{step}.json")
        for old in self.sums.glob("*.json"):
            if not (self.folder / old.stem).exists():
                old.unlink(missing_ok=True)


def checksums(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder, by relative path."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                sums[str(path.relative_to(folder))] = hashlib.file_digest(
                    file, "sha256"
                ).hexdigest()
    return sums


def first_line(error: Exception) -> str:
    """The start of an error's message."""
    return (str(error).splitlines() or [""])[0][:200]


def layout(shapes: Tree, shardings: Tree) -> Tree:
    """A tree of shapes with the shardings attached, for `Checkpoints.restore`."""

    def place(shape: jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)

    return jax.tree.map(place, shapes, shardings)
