"""MSN's network: a ViT with learned positions, without a decoder."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax

from maskmim.config.ranges import FractionBelowOne, Positive, Size2D
from maskmim.models.encoder_only import vit_encoder
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.init import draw_normal, with_init
from maskmim.types import Array, Net, Spec


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
