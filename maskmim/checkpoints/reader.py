"""Reading stored checkpoints: which there are, what one holds, and the newest that is sound.

Nothing here writes, so that a run can be read while it trains; maskmim/checkpoints/writer.py writes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from maskmim import errors
from maskmim.checkpoints import checksums
from maskmim.errors import first_line
from maskmim.runtime import processes
from maskmim.tree_paths import named_leaves
from maskmim.types import Tree

log = logging.getLogger("maskmim")

FOLDER = "checkpoints"
SUMS = "checksums"
# Of what is read, so much may be on its way at a time: the inverse.
SHARES = 16
# Folders are made before a save returns: where that fails, Orbax's threads would wait for minutes.
FOLDERS_FIRST = ocp.options.AsyncOptions(create_directories_asynchronously=False)


class CheckpointError(errors.UserError, ValueError):
    """No usable checkpoint where one is needed."""


class Unreadable(CheckpointError):
    """A sound checkpoint that this process cannot read now; exit code STORAGE."""

    exit_code = errors.STORAGE


class Restored(NamedTuple):
    """A checkpoint: its step, the arrays, and the two JSON parts as dicts."""

    step: int
    state: Tree
    data: dict[str, Any]
    config: str


def steps(folder: Path) -> list[int]:
    """The steps of a folder of checkpoints, ascending; Orbax names one when it is complete."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(int(path.name) for path in found if path.name.isdigit())


def sums_of(folder: Path, step: int) -> Path:
    """Where the checksums of a step are."""
    return folder / SUMS / f"{step}.json"


def handler(in_flight: int | None = None) -> ocp.CompositeCheckpointHandler:
    """The format: three items; arrays are not compressed, as the digits of floats hardly are.

    in_flight: bytes of arrays that are read at a time.
    """
    arrays = ocp.BasePyTreeCheckpointHandler(
        use_compression=False, restore_concurrent_bytes=in_flight
    )
    return ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(async_options=FOLDERS_FIRST),
        state=ocp.PyTreeCheckpointHandler(handler_impl=arrays),
        data=ocp.JsonCheckpointHandler(),
        config=ocp.JsonCheckpointHandler(),
    )


def told_by_us(record: logging.LogRecord) -> bool:
    """A filter of absl's log: leaves out what Orbax tells, with tracebacks, of errors it raises."""
    return "orbax" not in record.pathname


def newest(workdir: Path, like: Mapping[str, Tree]) -> Restored | None:
    """The newest sound checkpoint of a run, or parts of it; None where there is none.

    like: as for `attempt`. Damaged checkpoints are passed over with a warning and left where they
    are. Raises CheckpointError where there are some and none can be read.
    """
    folder = Path(workdir).absolute() / FOLDER
    tried: list[int] = []
    while left := [step for step in steps(folder) if step not in tried]:
        restored, problem = attempt(folder, left[-1], like)
        if restored is not None:
            return restored
        tried.append(left[-1])
        if left[-1] in steps(folder):  # else the training has removed it in the meantime
            log.warning("checkpoint %d in %s is unreadable (%s)", left[-1], folder, problem)
    if tried:
        raise CheckpointError(
            f"none of the checkpoints {tried} in {folder} can be read: continue the training, "
            "which sets them aside, or restore a copy"
        )
    return None


def attempt(folder: Path, step: int, like: Mapping[str, Tree]) -> tuple[Restored | None, str]:
    """What a checkpoint holds, or None and what is wrong with it; the same in all processes.

    like: the state, or some of its parts by name, as jax.ShapeDtypeStruct with the shardings that
          the arrays shall have, on any mesh. Only what is asked for is read into memory.
    Raises CheckpointError where a sound checkpoint holds other arrays, Unreadable where its files
    are sound by their checksums and reading fails all the same.
    """
    logging.getLogger("absl").addFilter(told_by_us)
    sealed, problem = _checked(folder, step) if processes.leads() else (False, "")
    if not processes.every(not problem):
        return None, problem or "damaged files"
    restored = None
    try:
        compare(folder, step, like)
        restored = read(folder, step, like)
    except CheckpointError:
        raise
    except Exception as error:  # whatever the storage layers raise on broken files
        problem = f"{type(error).__name__}: {first_line(error)}"
        if sealed:
            raise Unreadable(
                f"checkpoint {step} in {folder} is whole by its checksums but cannot be read now "
                f"({problem}): the same command tries again"
            ) from error
    if processes.every(restored is not None):
        return restored, ""
    return None, problem or "another process could not read it"


def _checked(folder: Path, step: int) -> tuple[bool, str]:
    """Whether a step has checksums, and what they tell of damage ('' for none)."""
    place = folder / str(step)
    if not place.is_dir():
        return False, "not a folder"
    sums = checksums.read(sums_of(folder, step))
    if sums is None and sums_of(folder, step).exists():
        log.warning("the checksums of checkpoint %d are damaged: it is read without them", step)
    if sums is None:
        return False, ""
    try:
        return True, checksums.damage(place, sums)
    except PermissionError as error:
        raise Unreadable(f"checkpoint {step} in {folder} may not be read: {error}") from error


def read(folder: Path, step: int, like: Mapping[str, Tree]) -> Restored:
    """The arrays asked for and the JSON parts of a checkpoint; any exception where it is broken.

    An array takes its memory three times while it is read: large ones are read first, one by one.
    """
    leaves, tree = jax.tree.flatten(like)
    found: dict[int, jax.Array] = {}
    place = folder / str(step)
    for group in large_first([leaf.size * leaf.dtype.itemsize for leaf in leaves]):
        chosen = [leaf if i in group else ocp.PLACEHOLDER for i, leaf in enumerate(leaves)]
        arrays = jax.tree.leaves(_read_some(place, jax.tree.unflatten(tree, chosen)))
        found |= {i: arrays[i] for i in group}
    state = jax.tree.unflatten(tree, [found[i] for i in range(len(leaves))])
    json_parts = {"data": ocp.args.JsonRestore(), "config": ocp.args.JsonRestore()}
    items = _restored(place, handler(), json_parts)
    return Restored(step, state, items["data"], json.dumps(items["config"]))


def large_first(sizes: list[int]) -> list[list[int]]:
    """Which arrays to read together: each above a sixteenth of all alone, then the rest."""
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    alone = [i for i in order if sizes[i] > sum(sizes) // SHARES]
    groups = [*([i] for i in alone), order[len(alone) :]]
    return [group for group in groups if group] or [[]]


def _read_some(place: Path, like: Tree) -> Tree:
    """The arrays of a checkpoint, without those that `like` has a placeholder for."""
    leaves = [leaf for leaf in jax.tree.leaves(like) if leaf is not ocp.PLACEHOLDER]
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in leaves]
    at_once = max(sum(sizes) // SHARES, max(sizes, default=0) + 1, 1 << 20)
    arrays = ocp.args.PyTreeRestore(
        item=like,
        restore_args=ocp.checkpoint_utils.construct_restore_args(like),
        partial_restore=True,
    )
    return _restored(place, handler(at_once), {"state": arrays})["state"]


def _restored(
    place: Path, items: ocp.CompositeCheckpointHandler, wanted: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Some items of a checkpoint."""
    reader = ocp.Checkpointer(items)
    found = reader.restore(place, args=ocp.args.Composite(**wanted))
    reader.close()
    return found


def compare(folder: Path, step: int, like: Mapping[str, Tree]) -> None:
    """CheckpointError where a checkpoint holds other arrays than are asked for."""
    stored = ocp.PyTreeCheckpointHandler().metadata(folder / str(step) / "state").tree
    wanted = {name: tuple(leaf.shape) for name, leaf in named_leaves(like)}
    parts = {name.partition("/")[0] for name in wanted}
    found = {
        name: tuple(leaf.shape)
        for name, leaf in named_leaves(stored)
        if name.partition("/")[0] in parts
    }
    if found != wanted:
        lines = [
            f"{name}: {found.get(name, 'missing')} in the file, {wanted.get(name, 'none')} here"
            for name in sorted(found.keys() | wanted.keys())
            if found.get(name) != wanted.get(name)
        ]
        more = [f"and {len(lines) - 5} more"] if lines[5:] else []
        listed = "\n  ".join([*lines[:5], *more])
        raise CheckpointError(
            f"checkpoint {step} in {folder} is intact but holds other arrays than this config "
            f"builds:\n  {listed}\nUse the config that made it (config.json in the work "
            "directory), or another work directory"
        )


def layout(shapes: Tree, shardings: Tree) -> Tree:
    """A tree of shapes with the shardings attached, for `attempt` and `Checkpoints.restore`."""

    def place(shape: jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)

    return jax.tree.map(place, shapes, shardings)
