"""What is exported of a run: its network in float32, the weights that were chosen, its record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from maskmim.checkpoints.load_run import TrainedRun, load_trained
from maskmim.config.bricks import public_path, resolve
from maskmim.errors import UserError
from maskmim.interop.source import averages
from maskmim.models.layers.machine import assume_accelerators
from maskmim.training.build import build_method
from maskmim.tree_paths import leaf_path, named_leaves
from maskmim.types import Method, Net, Spec, Tree

# AVERAGE is that of `config.ema`.
EVALUATED, TRAINED, AVERAGE = "evaluated", "trained", "average"


class ExportError(UserError, ValueError):
    """What cannot be exported as asked; the message says what can be had instead."""


class Subject(NamedTuple):
    """What is exported.

    config:  of the run.
    spec, net: its network, which computes in float32 and by no form of attention of this machine.
    params:  nested dicts of numpy float32.
    weights: which weights of the run they are: 'trained' or the name of an average.
    is_evaluated: whether the run's evaluations, and so its results, are of these weights.
    step:    of the checkpoint.
    origin:  what the checkpoint records of its data and of what it began from.
    results: content of results.json, {} without one. later: of the results-<names>.json beside it,
             by names.
    does:    see `Method.does`.
    """

    config: ConfigDict
    spec: Spec
    net: Net
    params: Tree
    weights: str
    is_evaluated: bool
    step: int
    origin: Mapping[str, Any]
    results: Mapping[str, Any]
    does: str = "pretraining"
    later: Mapping[str, Mapping[str, Any]] = MappingProxyType({})

    @property
    def brick(self) -> str:
        """The dotted path of the network's brick, 'maskmim.models.masked_vit.vit_mae'."""
        return public_path(resolve(self.config.model.brick))

    @property
    def grid(self) -> tuple[int, ...]:
        """The token grid of the only stream; ExportError where there are several."""
        if len(self.net.grids) != 1:
            raise ExportError(
                f"the network sees several streams ({', '.join(self.net.grids)}), and exported "
                "encoders see one: --to safetensors writes its parameters"
            )
        return next(iter(self.net.grids.values()))


def read_subject(workdir: Path, weights: str | None = None) -> Subject:
    """Read the newest sound checkpoint of a run; nothing in its folder is changed.

    weights: 'evaluated' (None) for those that evaluation reads, averaged ones where the run has
             some; 'trained'; or the name of an average that the run keeps, such as 'teacher'.
    Raises ConfigError or CheckpointError where there is no run or no checkpoint that can be read,
    ExportError for weights that the run lacks.
    """
    trained = load_trained(workdir)
    copies = averages(trained.variables.params, trained.variables.extra)
    evaluated = _evaluated_name(trained, copies)
    name = evaluated if weights in (None, EVALUATED) else weights
    params = _weights(trained, name, copies, workdir)
    spec, method = exact_method(trained.config)
    params = jax.tree.map(_as_float32, params)
    results = _read_results(workdir / "results.json")
    return Subject(
        config=trained.config,
        spec=spec,
        net=method.net,
        params=params,
        weights=name,
        is_evaluated=name == evaluated,
        step=trained.step,
        origin=trained.origin,
        results=results,
        does=method.does,
        later=_read_later(workdir),
    )


def exact_method(config: ConfigDict) -> tuple[Spec, Method]:
    """Return the method of a config, whose network computes in float32."""
    config = ConfigDict(config.to_dict())
    if "compute" in config.model:
        config.model.compute.update(dtype="float32", remat="none")
    with assume_accelerators():
        return build_method(config.lock())


def _as_float32(leaf: Any) -> np.ndarray:
    array = np.asarray(leaf)
    return array.astype(np.float32) if jax.dtypes.issubdtype(array.dtype, np.floating) else array


def _evaluated_name(trained: TrainedRun, copies: Mapping[str, Any]) -> str:
    """Return the name of the weights that evaluation reads; EVALUATED for one of several copies."""
    if trained.config.ema is not None:
        return AVERAGE
    if "encode_student" not in trained.method.apply:
        return TRAINED
    return next(iter(copies)) if len(copies) == 1 else EVALUATED


def _weights(
    trained: TrainedRun, name: str, copies: Mapping[str, Any], workdir: Path
) -> dict[str, Any]:
    """Return the params of a name. copies: {name of an average: {path: array}}."""
    params, evaluated = trained.variables.params, trained.evaluated.params
    # Running averages of batch norms, which evaluation adds, belong to any of the weights.
    norms = {part: values for part, values in evaluated.items() if part not in params}
    if name == TRAINED:
        return {**params, **norms}
    if name == AVERAGE and trained.config.ema is not None:
        return evaluated
    if name not in copies:
        known = ", ".join(map(repr, (EVALUATED, TRAINED, *copies)))
        raise ExportError(f"--weights={name}: {workdir} keeps no such weights; it has {known}")
    leaves = {**dict(named_leaves(params)), **copies[name]}
    whole = jax.tree.map_with_path(lambda path, _: leaves[leaf_path(path)], params)
    return {**whole, **norms}


def _read_later(workdir: Path) -> dict[str, dict[str, Any]]:
    """Return what later evaluations of some names found, by these names."""
    prefix = "results-"
    files = sorted(workdir.glob(f"{prefix}*.json"))
    found = {file.stem.removeprefix(prefix): _read_results(file) for file in files}
    return {names: results for names, results in found.items() if results}


def _read_results(path: Path) -> dict[str, Any]:
    """Return the content of results.json; {} where it is missing or damaged."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return results if isinstance(results, dict) else {}
