"""A finished or running training as a value: its method and its newest weights, from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding
from ml_collections import ConfigDict

from maskmim.checkpoints.reader import layout, newest
from maskmim.checkpoints.workdir import load_config
from maskmim.config.parse import ConfigError
from maskmim.training.build import build_method
from maskmim.types import Method, Spec, Variables

PARTS = "params", "extra"


class Trained(NamedTuple):
    """What a work directory holds.

    variables: params and extra as numpy arrays; frozen is (), `method.freeze()` makes it where it
               is wanted.
    step:      of the checkpoint that was read.
    """

    config: ConfigDict
    spec: Spec
    method: Method
    variables: Variables
    step: int


def trained(workdir: str | Path) -> Trained:
    """The method and the newest weights of a run, for use as a teacher, a tokenizer or by hand.

    Read on one device of this process, on whatever mesh they were trained; what the optimiser keeps
    is not read, and nothing in the folder is changed.
    Raises ConfigError where there is no run or no checkpoint, CheckpointError where it cannot be
    read.
    """
    workdir = Path(workdir).expanduser()
    config = load_config(workdir)
    spec, method = build_method(config)
    shapes = dict(zip(PARTS, jax.eval_shape(method.init, jax.random.key(config.seed)), strict=True))
    here = SingleDeviceSharding(jax.local_devices()[0])
    # Shapes of frozen arrays are asked for under a trace, where reading would fail.
    with jax.ensure_compile_time_eval():
        restored = newest(workdir, layout(shapes, jax.tree.map(lambda _: here, shapes)))
        if restored is None:
            raise ConfigError(
                f"{workdir} has no checkpoint yet: let the training run until its first one"
            )
        params, extra = (jax.tree.map(np.asarray, restored.state[part]) for part in PARTS)
    return Trained(config, spec, method, Variables(params, extra, ()), restored.step)
