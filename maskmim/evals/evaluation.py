"""What an evaluation is of: a method with its variables on a mesh, and where results go."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from maskmim.evals.features import pooled_encoder
from maskmim.training import sharding
from maskmim.training.build import Assembly, init_sharded
from maskmim.types import Variables


class Evaluation(NamedTuple):
    """A method with variables of a step, ready to be probed and drawn.

    workdir: folder for results and pictures.
    encode: (variables, images) -> pooled features, jitted; `make_encoder` makes it once a run.
    """

    config: ConfigDict
    workdir: Path
    parts: Assembly
    variables: Variables
    step: int
    encode: Callable

    @property
    def encoder(self) -> Callable:
        """Return images -> pooled features, with the variables of the step."""
        return functools.partial(self.encode, self.variables)

    @property
    def untrained_encoder(self) -> Callable:
        """Return images -> pooled features, with the variables before training."""
        state, frozen = init_sharded(self.parts, self.config.seed)
        variables = Variables(state.params, state.extra, frozen)
        return functools.partial(self.encode, variables)


def make_encoder(config: ConfigDict, parts: Assembly) -> Callable:
    """Return (variables, images) -> pooled features, jitted, over the mesh."""
    return pooled_encoder(
        parts.method.apply["encode"],
        pooling=config.evals.pooling,
        place=sharding.by_example(parts.mesh),
        stream=parts.spec.stream,
    )
