"""A run that begins from weights: `config.begin`, read once, before the first step.

A run that continues does not read its source again: its checkpoints hold the weights, and the
record of where they came from (`continuation.origin` and 'began').
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from maskmim.checkpoints.continuation import BEGAN, digest_arrays
from maskmim.config.parse import ConfigError
from maskmim.errors import count_of
from maskmim.interop.begin_file import Model, of_file
from maskmim.interop.fitting import EXTRA, Selection, Taken, check_names, condensed, fit, matches
from maskmim.interop.source import TRAINED, Source, averages, geometry_of, of_run, weights_title
from maskmim.reporting.progress import format_rows
from maskmim.training.build import Assembly
from maskmim.training.given_arrays import state_with
from maskmim.tree_paths import named_leaves
from maskmim.types import State, random_key

# Runs that a line names, of those that one began from after another.
MOST_LINKS = 4
# What the record keeps of weights of a run, for a line about them.
OF_RUN = "run", "step", "weights"


class Beginning(NamedTuple):
    """The first state of a run that begins from weights.

    record: what its checkpoints keep of it. sheet: for people, what was taken and what was not.
    """

    state: State
    record: dict[str, Any]
    sheet: str


def is_asked_for(config: ConfigDict) -> bool:
    """Return whether a run begins from weights."""
    return bool(config.begin.workdir or config.begin.file)


def check_begin(config: ConfigDict, workdir: Path) -> None:
    """Raise ConfigError where the keys of `begin` do not fit together; nothing is read."""
    begin = config.begin
    if begin.workdir and begin.file:
        raise ConfigError(
            f"begin.workdir={begin.workdir} and begin.file={begin.file} are both set: a run begins "
            "from one of them"
        )
    if not is_asked_for(config):
        defaults = {"weights": TRAINED, "take": (), "fresh": ()}
        if chosen := [f"begin.{key}" for key, value in defaults.items() if begin[key] != value]:
            raise ConfigError(
                f"{', '.join(chosen)} without a source: add --config.begin.workdir=RUN or "
                "--config.begin.file=FILE"
            )
        return
    if begin.file and begin.weights != TRAINED:
        raise ConfigError(
            f"begin.weights is {begin.weights!r}, but a file has one kind of weights: leave it at "
            f"{TRAINED!r}"
        )
    if begin.workdir and Path(begin.workdir).expanduser().resolve() == Path(workdir).resolve():
        raise ConfigError(
            f"begin.workdir={begin.workdir} is the --workdir of this run: a run cannot begin from "
            "itself; to continue it, leave begin out, to begin another one, give another --workdir"
        )


def check_selection(config: ConfigDict, parts: Assembly) -> None:
    """Raise WeightsError for a pattern of `begin` that matches nothing of the network."""
    check_names(_selection(config), _shapes(parts))


def _selection(config: ConfigDict) -> Selection:
    return Selection(tuple(config.begin.take), tuple(config.begin.fresh))


def begin(config: ConfigDict, parts: Assembly) -> Beginning:
    """Return the first state of a run, with the weights that `config.begin` names in it.

    Raises UserErrors (WeightsError, ConfigError, CheckpointError) for a source that cannot be read
    or does not fit the network.
    """
    shapes, selection = _shapes(parts), _selection(config)
    source = _read(config, parts, selection)
    here = geometry_of(parts.spec, parts.method.net)
    taken = fit(source.arrays, shapes, selection, source.geometry, here, where=source.title)
    state = place(parts, config.seed, taken.arrays)
    record = _record(source, taken, shapes)
    return Beginning(state, record, _sheet(source, taken, shapes, parts))


def _read(config: ConfigDict, parts: Assembly, selection: Selection) -> Source:
    if config.begin.workdir:
        return of_run(config.begin.workdir, config.begin.weights, parts.spec)
    shapes = {name: tuple(leaf.shape) for name, leaf in named_leaves(parts.shapes.params)}
    model = Model(parts.spec, parts.method.net, shapes, config.model)
    return of_file(config.begin.file, model, selection)


def _shapes(parts: Assembly) -> dict[str, tuple[int, ...]]:
    """Return the shapes of params by path, and of extra after 'extra/'."""
    shapes = {name: tuple(leaf.shape) for name, leaf in named_leaves(parts.shapes.params)}
    extra = named_leaves(parts.shapes.extra)
    return {**shapes, **{f"{EXTRA}{name}": tuple(leaf.shape) for name, leaf in extra}}


def place(parts: Assembly, seed: int, arrays: Mapping[str, np.ndarray]) -> State:
    """Return the initial state with arrays given by path, each put where it lives."""
    shapes, shardings = dict(named_leaves(parts.shapes)), dict(named_leaves(parts.shardings))
    given = {}
    for path, array in arrays.items():
        name = path if path.startswith(EXTRA) else f"params/{path}"
        host = np.asarray(array, shapes[name].dtype)
        given[name] = jax.make_array_from_callback(
            host.shape, shardings[name], lambda index, host=host: host[index]
        )

    def make(key: jax.Array, given: Mapping[str, jax.Array]) -> State:
        return state_with(parts.method, parts.optimiser, key, given)

    return jax.jit(make, out_shardings=parts.shardings)(random_key(seed), given)


def _record(source: Source, taken: Taken, shapes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what checkpoints keep: the source, what was taken, its digest and the time."""
    return {
        **source.record,
        "sha256": digest_arrays({path: source.arrays[path] for path in taken.arrays}),
        "taken": condensed(taken.arrays, shapes),
        "arrays": len(taken.arrays),
        "resized": list(taken.resized),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def describe(record: Mapping[str, Any]) -> str:
    """Return in a line what a run began from, and what that began from in turn."""
    words, link, count = [], record, 0
    while link and count < MOST_LINKS:
        of_run = "run" in link
        words.append(weights_title(*(link[key] for key in OF_RUN)) if of_run else link["file"])
        link, count = link.get(BEGAN), count + 1
    more = ", which began from more" if link else ""
    chain = ", which began from ".join(words)
    return (
        f"begun from {chain}{more} ({record['taken']}: {count_of(record['arrays'], 'array')}, "
        f"sha256 {record['sha256'][:12]}, read {record['time']})"
    )


def _sheet(source: Source, taken: Taken, shapes: Mapping[str, Any], parts: Assembly) -> str:
    """Return what was taken, resized, drawn and left, as rows for people."""
    values = sum(array.size for array in taken.arrays.values())
    counts = f"{count_of(len(taken.arrays), 'array')}, {count_of(values, 'value')}"
    repeats = [f"{EXTRA}{name}" for name in averages(parts.shapes.params, parts.shapes.extra)]
    copies = [part for part in repeats if not any(matches(part, path) for path in taken.arrays)]
    fresh = [p for p in taken.fresh if not any(matches(part, p) for part in copies)]
    average = f"{source.average}/" if source.average else ()
    unused = [path for path in taken.unused if not path.startswith(average)]
    left = [name for name in (condensed(unused, source.arrays), *source.left) if name]
    rows = [
        ("taken", f"{condensed(taken.arrays, shapes)} ({counts})"),
        ("resized", "; ".join((*taken.resized, "bicubic, antialiased")) if taken.resized else ""),
        ("drawn fresh", condensed(fresh, shapes) or "nothing"),
        ("copies of these", ", ".join(copies)),
        ("left in the source", ", ".join(left) or "nothing"),
        *(("note", remark) for remark in source.remarks),
    ]
    return format_rows(f"beginning from {source.title}", [row for row in rows if row[1]])
