"""Work directories of weights that are not trained, written without a training."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from maskmim.checkpoints.workdir import save_config
from maskmim.checkpoints.writer import Checkpoints
from maskmim.config.load import load
from maskmim.config.serialize import to_json
from maskmim.training.build import build_method
from maskmim.types import State, random_key


def store_run(folder: Path, name: str, steps: Sequence[int], *overrides: str) -> Path:
    """Write a run of a config with a checkpoint at each step, and return its folder.

    The weights of the first checkpoint are the initial ones, those of the next twice as large, so
    that attention differs from token to token, and so on.
    """
    folder.mkdir()
    config = load(name, list(overrides))
    params, extra = jax.jit(build_method(config)[1].init)(random_key(0))
    save_config(folder, config)
    checkpoints = Checkpoints(folder)
    for factor, step in enumerate(steps, start=1):
        larger = jax.tree.map(lambda leaf, factor=factor: leaf * factor, params)
        state = State(np.int32(step), larger, extra, (), np.int32(0))
        checkpoints.save(step, state, {}, to_json(config))
    checkpoints.close()
    return folder
