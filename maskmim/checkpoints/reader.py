"""Reading checkpoints: the stored steps, the arrays of one, and the newest that is intact.

Nothing here writes, so that a run can be read while it trains; `checkpoints.writer` writes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
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
DAMAGED = "checkpoints-damaged"
SUMS = "checksums"
JSON_FILE = "metadata"
# Read at most 1/SHARES of the bytes concurrently.
SHARES = 16
# Make folders before a save returns: where that fails in a thread, Orbax waits for minutes.
FOLDERS_FIRST = ocp.options.AsyncOptions(create_directories_asynchronously=False)


class CheckpointError(errors.UserError, ValueError):
    """A checkpoint that is needed, and is missing or does not fit."""


class UnreadableCheckpoint(CheckpointError):
    """An intact checkpoint that this process cannot read now; exit code STORAGE."""

    exit_code = errors.STORAGE


class Restored(NamedTuple):
    """A checkpoint: its step, its arrays, the position in the data, and the config as JSON.

    data, config: only {'step': step} and '' where their files are lost and have no copy.
    """

    step: int
    state: Tree
    data: dict[str, Any]
    config: str


def stored_steps(folder: Path) -> list[int]:
    """Return the complete steps in a folder of checkpoints, ascending."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted(int(path.name) for path in paths if path.name.isdigit())


def checksums_path(folder: Path, step: int) -> Path:
    """Return the path of a step's checksums."""
    return folder / SUMS / f"{step}.json"


def make_handler(concurrent_bytes: int | None = None) -> ocp.CompositeCheckpointHandler:
    """Return the Orbax handler of our format: three items, arrays uncompressed.

    concurrent_bytes: of arrays that are read at a time; None for no limit.
    """
    arrays = ocp.BasePyTreeCheckpointHandler(
        use_compression=False, restore_concurrent_bytes=concurrent_bytes
    )
    return ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(async_options=FOLDERS_FIRST),
        state=ocp.PyTreeCheckpointHandler(handler_impl=arrays),
        data=ocp.JsonCheckpointHandler(JSON_FILE),
        config=ocp.JsonCheckpointHandler(JSON_FILE),
    )


def not_from_orbax(record: logging.LogRecord) -> bool:
    """Drop Orbax's records from absl's log: they repeat errors that it raises, with tracebacks."""
    return "orbax" not in record.pathname


def restore_newest(workdir: Path, like: Mapping[str, Tree]) -> Restored | None:
    """Restore the newest intact checkpoint of a run, or parts of it; return None without any.

    like: as for `try_restore`.
    Skips damaged checkpoints with a warning, and leaves them where they are. Goes on to a newer one
    where the training removes a checkpoint meanwhile. Raises CheckpointError where there are
    checkpoints and none can be read.
    """
    folder = Path(workdir).absolute() / FOLDER
    tried: list[int] = []
    while left := [step for step in stored_steps(folder) if step not in tried]:
        restored, problem = try_restore(folder, left[-1], like)
        if restored is not None:
            return restored
        tried.append(left[-1])
        if left[-1] in stored_steps(folder):  # else the training has removed it meanwhile
            log.warning("checkpoint %d in %s is unreadable (%s)", left[-1], folder, problem)
    if tried:
        raise CheckpointError(
            f"none of the checkpoints {tried} in {folder} can be read: continue the training, "
            "which sets them aside, or restore a copy"
        )
    return None


def restore_step(workdir: Path, step: int, like: Mapping[str, Tree]) -> Restored:
    """Restore one checkpoint of a run, or parts of it.

    like: as for `try_restore`. Raises CheckpointError for a step that is not kept or not readable.
    """
    folder = Path(workdir).absolute() / FOLDER
    kept = stored_steps(folder)
    if step not in kept:
        steps = ", ".join(map(str, kept)) or "none"
        raise CheckpointError(f"{workdir} keeps no checkpoint {step}: it has {steps}")
    restored, problem = try_restore(folder, step, like)
    if restored is None:
        others = ", ".join(str(other) for other in kept if other != step) or "none"
        raise CheckpointError(
            f"checkpoint {step} of {workdir} cannot be read ({problem}): restore a copy, or take "
            f"another one ({others})"
        )
    return restored


def explain_no_checkpoint(workdir: Path) -> str:
    """Return why a run without a checkpoint cannot be used, and what to do."""
    damaged = Path(workdir) / DAMAGED
    if damaged.is_dir() and any(damaged.iterdir()):
        return (
            f"no checkpoint of {workdir} can be read, those in {damaged} are damaged: copy a good "
            f"one into {Path(workdir) / FOLDER}"
        )
    return f"{workdir} has no checkpoint yet: let the training run until its first one"


def try_restore(folder: Path, step: int, like: Mapping[str, Tree]) -> tuple[Restored | None, str]:
    """Restore a checkpoint, or return None and the problem; all processes return the same.

    like: the state, or some of its parts by name, as jax.ShapeDtypeStruct with the shardings that
          the arrays get, on any mesh. Nothing else is read into memory.
    Reads small files that are lost or damaged from their copies beside the checksums.
    Raises CheckpointError where an intact checkpoint holds other arrays, UnreadableCheckpoint where
    the files match their checksums and reading fails all the same.
    """
    logging.getLogger("absl").addFilter(not_from_orbax)
    has_sums, problem = _verify(folder, step) if processes.is_main() else (False, "")
    if not processes.all_true(not problem):
        return None, problem or "damaged files"
    restored = None
    try:
        with _readable(folder, step) as path:
            check_shapes(path, step, like)
            restored = read_checkpoint(path, step, like)
    except CheckpointError:
        raise
    except Exception as error:  # whatever the storage layers raise on broken files
        problem = f"{type(error).__name__}: {first_line(error)}"
        if has_sums and step in stored_steps(folder):
            raise UnreadableCheckpoint(
                f"checkpoint {step} in {folder} matches its checksums but cannot be read now "
                f"({problem}): run the same command again"
            ) from error
    # A checkpoint loses its name before its files: while it has it, every file was there.
    if step not in stored_steps(folder):
        restored, problem = None, "removed meanwhile"
    if processes.all_true(restored is not None):
        return restored, ""
    return None, problem or "another process could not read it"


def _verify(folder: Path, step: int) -> tuple[bool, str]:
    """Return whether a step has checksums, and the damage that they show ('' for none)."""
    if not (folder / str(step)).is_dir():
        return False, "not a folder"
    sums = checksums.read(checksums_path(folder, step))
    if sums is None and checksums_path(folder, step).exists():
        log.warning("the checksums of checkpoint %d are damaged: reading it without them", step)
    if sums is None:
        return False, ""
    copies = checksums.read_copies(checksums_path(folder, step))
    try:
        return True, checksums.describe_damage(folder / str(step), sums, copies)
    except PermissionError as error:
        raise UnreadableCheckpoint(
            f"no permission to read checkpoint {step} in {folder}: {error}"
        ) from error


@contextlib.contextmanager
def _readable(folder: Path, step: int) -> Iterator[Path]:
    """Yield the folder of a checkpoint, or one with copies in place of damaged small files."""
    path, sums_path = folder / str(step), checksums_path(folder, step)
    copies = checksums.read_copies(sums_path)
    damaged = checksums.needed_copies(path, copies)
    if not damaged or not path.is_dir():
        yield path
        return
    log.warning(
        "checkpoint %d has lost %s: read from the copy in %s", step, ", ".join(damaged), sums_path
    )
    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / str(step)
        checksums.link_with_copies(path, target, checksums.read(sums_path) or {}, copies)
        yield target


def read_checkpoint(path: Path, step: int, like: Mapping[str, Tree]) -> Restored:
    """Read the arrays of `like` and the JSON parts of a checkpoint in a folder.

    Reads large arrays first, one by one, as each takes three times its memory while it is read.
    Raises any exception where the checkpoint is broken.
    """
    leaves, tree = jax.tree.flatten(like)
    arrays: dict[int, jax.Array] = {}
    for group in group_large_first([leaf.size * leaf.dtype.itemsize for leaf in leaves]):
        selected = [leaf if i in group else ocp.PLACEHOLDER for i, leaf in enumerate(leaves)]
        restored = jax.tree.leaves(_read_arrays(path, jax.tree.unflatten(tree, selected)))
        arrays |= {i: restored[i] for i in group}
    state = jax.tree.unflatten(tree, [arrays[i] for i in range(len(leaves))])
    data, config = _read_json(path, "data", step), _read_json(path, "config", step)
    return Restored(step, state, data or {"step": step}, json.dumps(config) if config else "")


def _read_json(path: Path, item: str, step: int) -> Any:
    """Return the content of a JSON item of a checkpoint; None, with a warning, where it is lost."""
    try:
        return json.loads((path / item / JSON_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
        log.warning("checkpoint %d has lost its %s (%s)", step, item, first_line(error))
        return None


def group_large_first(sizes: list[int]) -> list[list[int]]:
    """Group the arrays to read together: each above 1/SHARES of the total alone, then the rest."""
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    alone = [i for i in order if sizes[i] > sum(sizes) // SHARES]
    groups = [*([i] for i in alone), order[len(alone) :]]
    return [group for group in groups if group] or [[]]


def _read_arrays(path: Path, like: Tree) -> Tree:
    """Read the arrays of a checkpoint, except those that `like` has a placeholder for."""
    leaves = [leaf for leaf in jax.tree.leaves(like) if leaf is not ocp.PLACEHOLDER]
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in leaves]
    concurrent_bytes = max(sum(sizes) // SHARES, max(sizes, default=0) + 1, 1 << 20)
    arrays = ocp.args.PyTreeRestore(
        item=like,
        restore_args=ocp.checkpoint_utils.construct_restore_args(like),
        partial_restore=True,
    )
    return _read_items(path, make_handler(concurrent_bytes), {"state": arrays})["state"]


def _read_items(
    path: Path, handler: ocp.CompositeCheckpointHandler, items: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Read some items of a checkpoint."""
    reader = ocp.Checkpointer(handler)
    restored = reader.restore(path, args=ocp.args.Composite(**items))
    reader.close()
    return restored


def newest_config(workdir: Path) -> str:
    """Return the config of the newest checkpoint that has one, as JSON; '' without any."""
    folder = Path(workdir) / FOLDER
    for step in reversed(stored_steps(folder)):
        with _readable(folder, step) as path:
            if config := _read_json(path, "config", step):
                return json.dumps(config)
    return ""


def check_shapes(path: Path, step: int, like: Mapping[str, Tree]) -> None:
    """Raise CheckpointError unless a checkpoint holds arrays of the shapes in `like`."""
    metadata = ocp.PyTreeCheckpointHandler().metadata(path / "state").tree
    expected = {name: tuple(leaf.shape) for name, leaf in named_leaves(like)}
    parts = {name.partition("/")[0] for name in expected}
    stored = {
        name: tuple(leaf.shape)
        for name, leaf in named_leaves(metadata)
        if name.partition("/")[0] in parts
    }
    if stored != expected:
        lines = [
            f"{name}: {stored.get(name, 'missing')} in the file, {expected.get(name, 'none')} here"
            for name in sorted(stored.keys() | expected.keys())
            if stored.get(name) != expected.get(name)
        ]
        more = [f"and {len(lines) - 5} more"] if lines[5:] else []
        listed = "\n  ".join([*lines[:5], *more])
        raise CheckpointError(
            f"checkpoint {step} in {path} is intact but holds other arrays than this config "
            f"builds:\n  {listed}\nUse the config that made it (config.json in the work "
            "directory), or another work directory"
        )


def attach_shardings(shapes: Tree, shardings: Tree) -> Tree:
    """Return shapes with shardings attached, for `try_restore` and `Checkpoints.restore`."""

    def attach(
        shape: jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding
    ) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)

    return jax.tree.map(attach, shapes, shardings)
