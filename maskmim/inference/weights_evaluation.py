"""Evaluation of the weights of a file: their network, and the data and evaluations of a config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from maskmim.evals.evaluation import Evaluation, make_encoder
from maskmim.imagenet import TRAIN_IMAGES
from maskmim.inference.loaded import LAYOUTS, InferenceError, Loaded, sides
from maskmim.training.build import Assembly, assemble, freeze, replicate
from maskmim.training.example_spec import spec_of
from maskmim.types import Variables

# Sections of the config that are evaluated with; the method, its input and its loss are the file's.
TAKEN = ("seed", "data", "evals", "log", "process")
# What an encoder without its decoder can do, of `Method.apply`.
OF_ENCODERS = ("encode", "evaluated")
# A file of timm's names is one of the official MAE without its decoder, too.
ALIKE = {"mae": ("mae", "timm")}


def check_layout(loaded: Loaded, layout: str) -> None:
    """Raise InferenceError unless a file is in the layout that the user names."""
    if layout not in LAYOUTS:
        raise InferenceError(f"--layout={layout}: use one of {', '.join(LAYOUTS)}")
    if loaded.layout not in ALIKE.get(layout, (layout,)):
        raise InferenceError(
            f"--layout={layout}: {loaded.title} is in the layout {loaded.layout} "
            f"({LAYOUTS[loaded.layout]}), as the names of its arrays say: name that, or leave "
            "--layout out"
        )


def evaluation_of(loaded: Loaded, config: ConfigDict, folder: Path) -> Evaluation:
    """Return the evaluation of a file's weights on the data of a config, on the devices at hand.

    config: whose data and evaluations are taken, see TAKEN, with the mesh's sizes and the size of
            batches.
    folder: for results and pictures.
    Without a decoder the method encodes only: it draws no mask, reconstructs nothing and has no
    loss. The step is 0. Raises UserError where the parts do not fit, InferenceError for data of
    another kind than the network's inputs.
    """
    _check_inputs(loaded, config)
    config = _joined(loaded.config, config)
    parts = assemble(config, TRAIN_IMAGES)
    if not loaded.decoder:
        parts = _encoder_alone(parts)
    params, extra = (
        jax.tree.map(replicate, arrays, shardings)
        for arrays, shardings in (
            (loaded.variables.params, parts.shardings.params),
            (loaded.variables.extra, parts.shardings.extra),
        )
    )
    variables = Variables(params, extra, freeze(parts))
    return Evaluation(config, folder, parts, variables, 0, make_encoder(config, parts))


def weights_record(loaded: Loaded) -> dict[str, Any]:
    """Return what results.json says of the weights."""
    return {
        "file": loaded.title,
        "layout": loaded.layout,
        "input": sides(loaded.spec.size),
        "remarks": list(loaded.remarks),
    }


def _check_inputs(loaded: Loaded, config: ConfigDict) -> None:
    """Raise InferenceError unless examples of the config's data are what the network takes."""
    given, taken = spec_of(config), loaded.spec
    kinds = {
        "streams": (sorted(given.arrays), sorted(taken.arrays)),
        "axes": (len(given.size), len(taken.size)),
        "channels": (given.channels, taken.channels),
        "dtype": (given.dtype, taken.dtype),
    }
    for what, (has, wants) in kinds.items():
        if has != wants:
            raise InferenceError(
                f"examples of this config have the {what} {has}, the network of {loaded.title} "
                f"takes {wants}: name a config with such data by --config"
            )


def _joined(network: ConfigDict, data: ConfigDict) -> ConfigDict:
    """Return the config of a network with the data, evaluations and mesh of another."""
    joined = network.copy_and_resolve_references()
    with joined.unlocked():
        for section in TAKEN:
            joined[section] = data.copy_and_resolve_references()[section]
        for axis in ("data", "fsdp", "sequence", "tensor"):
            joined.mesh[axis] = data.mesh[axis]
        joined.train.batch_size = data.train.batch_size
        joined.train.micro_batches = data.train.micro_batches
    return joined.lock()


def _encoder_alone(parts: Assembly) -> Assembly:
    """Return the parts of a training whose method only encodes."""
    method = parts.method
    apply = {name: method.apply[name] for name in OF_ENCODERS if name in method.apply}
    return parts._replace(method=method._replace(apply=apply, sheets={}))
