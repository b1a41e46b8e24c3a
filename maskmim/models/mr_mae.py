"""MR-MAE's ConvMAE: fused visible tokens predict a teacher's features, then the decoder runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flax import linen as nn

from maskmim.config.ranges import Depth, Positive, PositiveInt, Size2D
from maskmim.models import vit
from maskmim.models.convmae import (
    MERGED,
    ConvMaeEncoder,
    FusingDecoder,
    convmae_net,
    convmae_variant,
    fuse_stages,
)
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.heads import dense_heads, head_widths
from maskmim.models.mae_decoder import Decoder
from maskmim.models.net import token_grid
from maskmim.types import Array, Encoded, Mask, Net, Spec


class MimickingDecoder(FusingDecoder):
    """ConvMAE's decoder, with a dense layer on what it fuses, before any of its blocks.

    features: values of the layer, which predicts at the visible tokens.
    """

    features: int = 768

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {head: f32[B, P, values]} and {'mimic': f32[B, K, features]}."""
        tokens = fuse_stages(self, encoded, mask.visible)
        mimicked = dense_heads({"mimic": self.features}, tokens, self.dtype)
        return {**Decoder.__call__(self, encoded._replace(tokens=tokens), mask), **mimicked}


def mimicking_convmae(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (4, 4),
    features: PositiveInt = 768,
    decoder_depth: Depth = 8,
    decoder_width: PositiveInt = 512,
    decoder_heads: PositiveInt = 16,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build `convmae.convmae` with one more head, 'mimic', at the visible tokens.

    features: values of this head, the width of a teacher.
    Other keywords, params and what is raised are those of `convmae.convmae`. The head reads the sum
    of the three stages behind its norm, so that a loss on it reaches the encoder and the layers
    that fuse its stages, and no block of the decoder. Take `objectives.match_visible_head` for it.
    Source: MR-MAE (arXiv 2303.05475), whose code is not public: that layers are fused before
    features are compared is the paper's; that ConvMAE's own layers do it is ours.
    """
    size = convmae_variant(variant)
    unit = MERGED**2 * patch[0], MERGED**2 * patch[1]
    common = vit.stack_fields(token_grid(spec.size, unit), norm_eps, compute())
    decoder = MimickingDecoder(
        features=features,
        heads=head_widths(heads, unit, spec.channels),
        size=vit.decoder_size(decoder_depth, decoder_width, decoder_heads),
        **common,
    )
    return convmae_net(spec, ConvMaeEncoder(patch=patch, size=size, **common), decoder)
