"""I-JEPA and V-JEPA: a ViT over visible tokens, and a narrow predictor of asked features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from maskmim.config.ranges import FractionBelowOne, Positive, PositiveInt, Sizes
from maskmim.models import vit
from maskmim.models.layers import posembed
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.init import draw_normal, with_init
from maskmim.models.layers.posembed import FixedPositions
from maskmim.models.net import token_grid, vit_net
from maskmim.models.videomae import AskedDecoder
from maskmim.types import Net, Spec


def vit_jepa(
    spec: Spec,
    *,
    variant: str = "H",
    patch: Sizes = (14, 14),
    predictor: str = "12x384x16",
    positions: FixedPositions = "sincos",
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a ViT without class token and a predictor of the encoder's features, head 'features'.

    variant, predictor: sizes as models.vit.variant takes them. The predictor sees the visible
               tokens and a mask token for each predicted place, no other, see
               `videomae.AskedDecoder`; 'features' f32[B, P, width of the encoder].
    positions: the fixed table of both, a key of models.layers.posembed.FIXED.
    Other keywords are those of `masked_vit.vit_mae`. params: {'encoder': ..., 'decoder': ...}, the
    latter the predictor's.
    Raises ModelError for sizes that do not divide and names that are unknown.
    Source: I-JEPA (arXiv 2301.08243), VisionTransformer and VisionTransformerPredictor of
    src/models/vision_transformer.py, facebookresearch/ijepa. All kernels are drawn from N(0, 0.02):
    the model divides some by the square root of twice their block's number, but init_model of
    src/helper.py draws them again.
    """
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    return _build(spec, variant, patch, predictor, positions, drop_path, common)


def vit_vjepa(
    spec: Spec,
    *,
    variant: str = "L",
    patch: Sizes = (2, 16, 16),
    predictor: str = "12x384x16",
    positions: FixedPositions = "sincos_cut",
    views: PositiveInt = 2,
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build `vit_jepa` for clips, with a mask token for each view, which begin at 0.

    views: of an example, whose numbers the predictor reads, see `methods.views`.
    Other keywords, params and errors as of `vit_jepa`.
    Source: V-JEPA (arXiv 2404.08471), src/models of facebookresearch/jepa, with uniform_power,
    use_mask_tokens and zero_init_mask_tokens. transformers' VJEPA2Model is its successor, whose
    positions are rotary.
    """
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    net = _build(spec, variant, patch, predictor, positions, drop_path, common, fillings=views)
    rules = ((r"mask_token$", lambda key, old: jnp.zeros_like(old)),)
    return with_init(net, rules)._replace(reads=("view",))


def _build(
    spec: Spec,
    variant: str,
    patch: tuple[int, ...],
    predictor: str,
    positions: str,
    drop_path: float,
    common: dict[str, Any],
    *,
    fillings: int = 1,
) -> Net:
    """Return the encoder with its predictor, all kernels drawn from N(0, 0.02)."""
    vit.check_positions(positions, posembed.FIXED)
    encoder = vit.build_encoder(
        variant, common, class_token=False, positions=positions, drop_path=drop_path
    )
    decoder = AskedDecoder(
        size=vit.variant(predictor),
        heads={"features": encoder.size.width},
        positions=positions,
        biased=True,
        fillings=fillings,
        **common,
    )
    net = vit_net(spec, patch=patch, encoder=encoder, decoder=decoder)
    return with_init(net, ((r"kernel$", draw_normal),))
