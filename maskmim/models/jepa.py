"""I-JEPA: a ViT over the visible tokens, and a narrow predictor of features at asked places."""

from __future__ import annotations

from collections.abc import Callable

from maskmim.config.ranges import FractionBelowOne, Positive, Sizes
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
    vit.check_positions(positions, posembed.FIXED)
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    encoder = vit.build_encoder(
        variant, common, class_token=False, positions=positions, drop_path=drop_path
    )
    decoder = AskedDecoder(
        size=vit.variant(predictor),
        heads={"features": encoder.size.width},
        positions=positions,
        biased=True,
        **common,
    )
    net = vit_net(spec, patch=patch, encoder=encoder, decoder=decoder)
    return with_init(net, ((r"kernel$", draw_normal),))
