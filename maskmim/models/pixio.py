"""Pixio's masked autoencoder: several class tokens, a deep decoder with learned positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flax import linen as nn

from maskmim.config.ranges import Depth, FractionBelowOne, Positive, PositiveInt, Size2D
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.heads import dense_heads, head_widths
from maskmim.models.mae_decoder import decode_predicted, fill_grid
from maskmim.models.net import token_grid, vit_net
from maskmim.models.vit import Stack
from maskmim.types import Array, Encoded, Mask, Net, Spec

truncated_normal = nn.initializers.truncated_normal(0.02)


class PixioDecoder(Stack):
    """MAE's decoder with learned positions for every token, class tokens included.

    heads: {name: values}; a head is a dense layer on the predicted tokens alone.
    """

    heads: Mapping[str, int]

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {head: f32[B, P, values]} from the encoded tokens and their mask."""
        prefix, tokens = fill_grid(self, encoded, mask)
        x = constraints.concat_tokens(prefix, tokens)
        x = x + self.param("positions", truncated_normal, x.shape[1:]).astype(x.dtype)[None]
        x = decode_predicted(self, x, prefix.shape[1], mask)
        return dense_heads(self.heads, x, self.dtype)


def vit_pixio(
    spec: Spec,
    *,
    variant: str = "H",
    patch: Size2D = (16, 16),
    class_tokens: PositiveInt = 8,
    decoder_depth: Depth = 32,
    decoder_width: PositiveInt = 512,
    decoder_heads: PositiveInt = 16,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.4,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a ViT encoder over visible patches with Pixio's deep decoder.

    class_tokens: prefix tokens of the encoder, which the decoder reads too.
    Other keywords are those of `masked_vit.vit_mae`; positions of encoder and decoder are learned.
    params: {'encoder': ..., 'decoder': ...}. Raises ModelError as vit_mae does.
    Source: Pixio (arXiv 2512.15715), pretraining/models_pixio.py of facebookresearch/pixio.
    Differences: class tokens have no positions in the encoder, as the sum of both is one learned
    token; the encoder's positions are drawn from N(0, 0.02), which the official code truncates at
    two standard deviations.
    """
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    encoder = vit.build_encoder(
        variant,
        common,
        class_token=class_tokens > 0,
        registers=max(class_tokens - 1, 0),
        positions="learned",
        drop_path=drop_path,
    )
    decoder = PixioDecoder(
        heads=head_widths(heads, patch, spec.channels),
        size=vit.decoder_size(decoder_depth, decoder_width, decoder_heads),
        **common,
    )
    return vit_net(spec, patch=patch, encoder=encoder, decoder=decoder)
