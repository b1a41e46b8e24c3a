"""What a run may begin from: arrays under our paths, of a run of maskmim or of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from maskmim.checkpoints.load_run import TrainedRun, load_trained
from maskmim.config.parse import ConfigError
from maskmim.interop.difference import WeightsError
from maskmim.interop.fitting import EXTRA, Geometry
from maskmim.tree_paths import leaf_path, named_leaves
from maskmim.types import Net, Spec, Tree

TRAINED, AVERAGE = "trained", "average"
# What the record of a run keeps of the origin of its checkpoint: its data, and what it began from.
KEPT = "examples", "fingerprint", "began"


class Source(NamedTuple):
    """Arrays to begin with.

    arrays:   f32 by path; those of extra after 'extra/'.
    geometry: of the tokens that they were made for.
    title:    for messages and people: 'runs/a, step 800'.
    record:   what checkpoints keep of it: its place, step, method.
    remarks:  lines for people about what may be meant otherwise.
    left:     names in a file that the network has no place for.
    average:  path of the average whose arrays stand for those of the params, 'extra/teacher'.
    """

    arrays: Mapping[str, np.ndarray]
    geometry: Geometry
    title: str
    record: Mapping[str, Any]
    remarks: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    average: str = ""


def geometry_of(spec: Spec, net: Net) -> Geometry:
    """Return the tokens that a network cuts an example into."""
    grids = {name: tuple(grid) for name, grid in net.grids.items()}
    grid = grids.get(spec.stream, ())
    if len(grid) != len(spec.size):
        return Geometry(grids)
    sides = (size // count for size, count in zip(spec.size, grid, strict=True))
    return Geometry(grids, (*sides, spec.channels))


def of_run(workdir: str, weights: str, spec: Spec) -> Source:
    """Return the newest weights of a run.

    weights: 'trained' for the params; or the path of an average of them in extra, such as
             'teacher'; 'average' for that of `config.ema`, or the only one. What it does not
             average, such as a decoder, is that of the params.
    spec:    of the run that begins, for remarks about inputs that are normalised otherwise.
    Raises ConfigError or CheckpointError where the folder holds no run that can be read, and
    WeightsError for an average that it lacks.
    """
    try:
        trained = load_trained(workdir)
    except ConfigError as error:
        raise ConfigError(f"begin.workdir: {error}") from error
    params, words = _weights(trained, weights, workdir)
    title = weights_title(workdir, trained.step, words)
    arrays = dict(named_leaves(params))
    arrays |= {f"{EXTRA}{name}": leaf for name, leaf in named_leaves(trained.variables.extra)}
    place = str(Path(workdir).expanduser().absolute())
    record = {"run": place, "step": trained.step, "method": trained.config.method, "weights": words}
    kept = {name: trained.origin[name] for name in KEPT if name in trained.origin}
    remarks = [*_averages_remark(trained, weights), *_inputs_remarks(trained.spec, spec)]
    geometry = geometry_of(trained.spec, trained.method.net)
    average = "" if words == TRAINED else f"{EXTRA}{words}"
    record |= kept
    return Source(arrays, geometry, title, record, tuple(remarks), average=average)


def weights_title(run: str, step: int, weights: str) -> str:
    """Return weights of a run for people: 'runs/a, step 5', "runs/a, step 5, average 'teacher'"."""
    return f"{run}, step {step}" + ("" if weights == TRAINED else f", average {weights!r}")


def _weights(trained: TrainedRun, weights: str, workdir: str) -> tuple[Tree, str]:
    """Return the params of a run that are meant, and their name."""
    variables = trained.variables
    if weights == TRAINED:
        return variables.params, TRAINED
    copies = averages(variables.params, variables.extra)
    only = next(iter(copies)) if weights == AVERAGE and len(copies) == 1 else weights
    name = weights if weights in copies else only
    if name not in copies:
        known = f"'trained' or {', '.join(map(repr, copies))}" if copies else "'trained'"
        kept = "several averages" if copies and weights == AVERAGE else "no such average"
        raise WeightsError(
            f"begin.weights is {weights!r}, but {workdir} keeps {kept} of its params: use {known}"
        )
    leaves = {**dict(named_leaves(variables.params)), **copies[name]}
    whole = jax.tree.map_with_path(lambda path, _: leaves[leaf_path(path)], variables.params)
    return whole, name


def averages(params: Tree, extra: Tree) -> dict[str, dict[str, Any]]:
    """Return the parts of extra that repeat params, by path; of each its leaves by their path.

    Arrays or shapes. A part repeats params where every leaf has the path and shape of one.
    """
    shapes = {name: tuple(leaf.shape) for name, leaf in named_leaves(params)}
    found: dict[str, dict[str, Any]] = {}
    for name, part in _sections(extra, ""):
        leaves = dict(named_leaves(part))
        is_inside = any(name.startswith(f"{outer}/") for outer in found)
        repeats = all(shapes.get(path) == tuple(leaf.shape) for path, leaf in leaves.items())
        if leaves and repeats and not is_inside:
            found[name] = leaves
    return found


def _sections(tree: Tree, prefix: str) -> Iterator[tuple[str, Tree]]:
    """Yield (path, section) of every section of nested mappings, outer ones first."""
    if not isinstance(tree, Mapping):
        return
    for name, section in tree.items():
        if isinstance(section, Mapping):
            yield f"{prefix}{name}", section
            yield from _sections(section, f"{prefix}{name}/")


def _averages_remark(trained: TrainedRun, weights: str) -> list[str]:
    """Return a line where a run keeps averaged weights that are not the ones taken."""
    params = dict(named_leaves(trained.variables.params))
    others = [
        name
        for name, leaves in averages(trained.variables.params, trained.variables.extra).items()
        if not all(np.array_equal(params[path], leaf) for path, leaf in leaves.items())
    ]
    if weights != TRAINED or not others:
        return []
    return [f"this run keeps averaged weights too; --config.begin.weights={others[0]} takes them"]


def _inputs_remarks(old: Spec, new: Spec) -> list[str]:
    """Return a line for each way in which inputs are normalised or named otherwise."""
    names = {"mean": "input.mean", "std": "input.std", "names": "input.channel_names"}
    return [
        f"{key} was {getattr(old, name)}, here it is {getattr(new, name)}"
        for name, key in names.items()
        if getattr(old, name) != getattr(new, name)
    ]
