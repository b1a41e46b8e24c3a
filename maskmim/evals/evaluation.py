"""What an evaluation is of: a method with its variables on a mesh, and where results go."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from maskmim.data.batch_arrays import output_shapes
from maskmim.evals.features import pooled_encoder
from maskmim.training import sharding
from maskmim.training.build import Assembly, evaluated_streams, init_sharded
from maskmim.types import Spec, Variables


class Evaluation(NamedTuple):
    """A method with variables of a step, ready to be probed and drawn.

    workdir: folder for results and pictures.
    encode: (variables, arrays of a batch) -> pooled features, jitted; `make_encoder` makes it once
            a run.
    pictures: name of the folder in workdir that has the pictures.
    """

    config: ConfigDict
    workdir: Path
    parts: Assembly
    variables: Variables
    step: int
    encode: Callable
    pictures: str = "images"

    @property
    def encoder(self) -> Callable:
        """Return arrays of a batch -> pooled features, with the variables of the step."""
        return functools.partial(self.encode, self.variables)

    @property
    def untrained_encoder(self) -> Callable:
        """Return arrays of a batch -> pooled features, with the variables before training."""
        return functools.partial(self.encode, self.before_training())

    def before_training(self) -> Variables:
        """Return the variables before training, on the mesh; computed at each call."""
        state, frozen = init_sharded(self.parts, self.config.seed)
        return Variables(state.params, state.extra, frozen)


def make_encoder(config: ConfigDict, parts: Assembly) -> Callable:
    """Return (variables, arrays of a batch) -> pooled features, jitted, over the mesh.

    Streams that `evals.streams` does not name are left out.
    """
    return pooled_encoder(
        parts.method.apply["encode"],
        pooling=config.evals.pooling,
        place=sharding.by_example(parts.mesh),
        without=left_out(config, parts.spec),
    )


def left_out(config: ConfigDict, spec: Spec) -> tuple[str, ...]:
    """Return the streams that do not enter the encoder of an evaluation."""
    chosen = evaluated_streams(config, spec)
    return tuple(name for name in spec.arrays if name not in chosen)


def evaluated_shapes(parts: Assembly, examples: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Return shapes and dtypes of the arrays of a batch that `evals.transform` makes."""
    shapes = output_shapes(parts.evals.transform, parts.spec)
    return {
        name: jax.ShapeDtypeStruct((examples, *each.shape), np.dtype(each.dtype))
        for name, each in shapes.items()
    }
