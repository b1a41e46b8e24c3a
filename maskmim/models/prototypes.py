"""Prototypes of clusters, as learned functions of tokens or of pooled features."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config.ranges import PositiveInt
from maskmim.models.layers.errors import ModelError
from maskmim.quantize.prototypes import prototype_logits
from maskmim.quantize.vector_quantize import l2_normalise
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


def cosine_prototypes(
    width: int, *, clusters: PositiveInt = 1024, inputs: PositiveInt | None = None
) -> LearnedFunction:
    """Return the cosines of features with prototypes: f32[..., D] -> f32[..., clusters].

    clusters: K prototypes, each value from -1 / sqrt(D) to 1 / sqrt(D) at first.
    inputs:   D, values of a feature; None for the width of the encoder.
    params: {'kernel': f32[D, K]}. Raises ModelError, when called, for other than D values.
    Source: make prototypes of src/msn_train.py and snn of src/losses.py, facebookresearch/msn.
    """
    entering = inputs or width

    def init(key: Array) -> Tree:
        bound = entering**-0.5
        shape = entering, clusters
        return {"kernel": jax.random.uniform(key, shape, jnp.float32, -bound, bound)}

    def call(params: Tree, x: Array) -> Array:
        if x.shape[-1] != entering:
            raise ModelError(
                f"prototypes of {entering} values get features of {x.shape[-1]}: set their "
                "`inputs` under config.calls to what the objective or method hands to them"
            )
        units, axes = l2_normalise(x.astype(jnp.float32)), l2_normalise(params["kernel"].T)
        return jnp.matmul(units, axes.T, precision=jax.lax.Precision.HIGHEST)

    return LearnedFunction(init, call, f"cosines with {clusters:,} prototypes of {entering} values")
