"""The dense head of the method itself, which it learns while it is trained."""

from __future__ import annotations

import jax
import numpy as np

from maskmim.config.parse import ConfigError
from maskmim.evals.dense.encoders import OURS
from maskmim.evals.dense.problem import Predict, Problem
from maskmim.evals.trained import put_everywhere
from maskmim.masks.core import nothing_hidden
from maskmim.models.layers.heads import head_output
from maskmim.training import sharding
from maskmim.types import Array, Variables


def own_head(problem: Problem, *, head: str = "classes") -> dict[str, Predict]:
    """Predict by a head of the trained network, as `models.dense_net` has; nothing is learnt.

    head: its name. Only the trained network answers, whatever `beside` names.
    Raises ModelError for a head that the network lacks, ConfigError for one of other outputs.
    """
    method, outputs = problem.method, problem.task.outputs
    net = method.net
    ((stream, _),) = net.grids.items()

    def answer(variables: Variables, pictures: Array) -> Array:
        params = method.apply["evaluated"](variables).params
        inputs = net.inputs({stream: pictures})
        encoded = net.encode(params, inputs, None)
        mask = nothing_hidden(len(pictures), encoded.tokens.shape[1])
        values = net.restore(head_output(net.predict(params, encoded, mask), head))
        if values.shape[-1] != outputs:
            raise ConfigError(
                f"the head {head!r} has {values.shape[-1]} outputs for each pixel, these maps need "
                f"{outputs}: train it with model.outputs={outputs}, or evaluate it on other maps"
            )
        return values

    program = jax.jit(answer, out_shardings=sharding.replicated(problem.mesh))
    variables = problem.encoders[OURS].variables

    def predict(pictures: np.ndarray) -> np.ndarray:
        return np.asarray(program(variables, put_everywhere(pictures, problem.mesh)))

    return {OURS: predict}
