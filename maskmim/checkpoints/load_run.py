"""Loading a finished or running training from its folder: its method and newest weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding
from ml_collections import ConfigDict

from maskmim.checkpoints.continuation import check_config_of
from maskmim.checkpoints.reader import (
    attach_shardings,
    explain_no_checkpoint,
    restore_newest,
    restore_step,
)
from maskmim.checkpoints.workdir import load_config
from maskmim.config.parse import ConfigError
from maskmim.training.build import build_method
from maskmim.types import Method, Spec, Variables, random_key

PARTS = "params", "extra"


class TrainedRun(NamedTuple):
    """The contents of a work directory.

    variables: params and extra as numpy arrays; frozen is (): call `method.freeze()` for it.
    step:      of the checkpoint that was read.
    origin:    what the checkpoint records beside its arrays, see `continuation.origin`.
    """

    config: ConfigDict
    spec: Spec
    method: Method
    variables: Variables
    step: int
    origin: Mapping[str, Any] = {}

    @property
    def evaluated(self) -> Variables:
        """The variables with the params that evaluation reads, see `Apply.evaluated`."""
        return self.method.evaluated(self.variables)


def load_trained(workdir: str | Path, step: int | None = None) -> TrainedRun:
    """Load the method and the weights of a run, as a teacher, a tokenizer or by hand.

    step: of the checkpoint; None for the newest sound one.
    Reads onto one device of this process, whatever mesh they were trained on. Does not read the
    optimiser's state, and changes nothing in the folder.
    Raises ConfigError where the folder holds no run or no checkpoint, CheckpointError where none
    can be read, or not that of the step.
    """
    workdir = Path(workdir).expanduser()
    config = load_config(workdir)
    spec, method = build_method(config)
    shapes = dict(zip(PARTS, jax.eval_shape(method.init, random_key(config.seed)), strict=True))
    one_device = SingleDeviceSharding(jax.local_devices()[0])
    like = attach_shardings(shapes, jax.tree.map(lambda _: one_device, shapes))
    # Callers may be under a trace (shapes of frozen arrays), where reading would fail.
    with jax.ensure_compile_time_eval():
        if step is None:
            restored = restore_newest(workdir, like)
        else:
            restored = restore_step(workdir, step, like)
        if restored is None:
            raise ConfigError(explain_no_checkpoint(workdir))
        check_config_of(restored, config, workdir)
        params, extra = (jax.tree.map(np.asarray, restored.state[part]) for part in PARTS)
    variables = Variables(params, extra, ())
    return TrainedRun(config, spec, method, variables, restored.step, restored.data)
