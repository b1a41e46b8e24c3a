"""Prototypes of clusters, as a learned function of tokens."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config.ranges import PositiveInt
from maskmim.quantize.prototypes import prototype_logits
from maskmim.types import Array, LearnedFunction, Tree


def prototypes(width: int, *, clusters: PositiveInt = 16384) -> LearnedFunction:
    """Return a linear layer on l2-normalised tokens, one output for each prototype.

    clusters: K prototypes, from N(0, 1), with biases that start at 0.
    params: {'kernel': f32[D, K], 'bias': f32[K]}; see `quantize.prototypes.prototype_logits`.
    Source: L2NormLinear of OnlineClustering, model.py of facebookresearch/capi.
    """

    def init(key: Array) -> Tree:
        kernel = jax.random.normal(key, (width, clusters), jnp.float32)
        return {"kernel": kernel, "bias": jnp.zeros(clusters)}

    return LearnedFunction(init, prototype_logits, f"{clusters:,} prototypes")
