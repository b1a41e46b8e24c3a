"""MSN's network, a ViT with learned positions and no decoder, and its prototypes."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from maskmim.config.ranges import FractionBelowOne, Positive, PositiveInt, Size2D
from maskmim.models.encoder_only import vit_encoder
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.init import draw_normal, with_init
from maskmim.quantize.vector_quantize import l2_normalise
from maskmim.types import Array, LearnedFunction, Net, Spec, Tree


def draw_for_relu(key: Array, old: Array) -> Array:
    """Draw from N(0, sqrt(2 / inputs)), Kaiming's for kernels [inputs, outputs] before a ReLU."""
    return math.sqrt(2 / old.shape[0]) * jax.random.normal(key, old.shape, old.dtype)


INIT_RULES = ((r"embed/kernel$", draw_for_relu), (r"kernel$", draw_normal))


def vit_msn(
    spec: Spec,
    *,
    variant: str = "S",
    patch: Size2D = (16, 16),
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a ViT with a class token and learned positions, which starts as MSN's does.

    Keywords, params and what it raises: as `encoder_only.vit_encoder`.
    Source: src/deit.py and init_model of src/msn_train.py, facebookresearch/msn. Differences: the
    class token has no position, as the token itself can learn it; the normal distributions are not
    cut at +-2, a hundred deviations.
    """
    net = vit_encoder(
        spec,
        variant=variant,
        patch=patch,
        positions="learned",
        norm_eps=norm_eps,
        drop_path=drop_path,
        compute=compute,
    )
    return with_init(net, INIT_RULES)


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
