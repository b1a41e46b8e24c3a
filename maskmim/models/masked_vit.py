"""Masked autoencoders with a Vision Transformer, as `Net` values."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from maskmim.config.ranges import (
    Depth,
    FractionBelowOne,
    NonNegativeInt,
    Positive,
    PositiveInt,
    Sizes,
)
from maskmim.models import vit
from maskmim.models.layers import posembed
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.heads import head_widths
from maskmim.models.layers.posembed import FixedPositions, Positions
from maskmim.models.mae_decoder import Decoder
from maskmim.models.net import token_grid, vit_net
from maskmim.types import Net, Spec


def vit_mae(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Sizes = (16, 16),
    class_token: bool = True,
    registers: NonNegativeInt = 0,
    positions: Positions = "sincos",
    mask_token: bool = False,
    decoder_depth: Depth = 8,
    decoder_width: PositiveInt = 512,
    decoder_heads: PositiveInt = 16,
    decoder_positions: FixedPositions = "sincos",
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a ViT encoder over visible patches with MAE's decoder.

    variant:    a key of models.vit.VARIANTS, or depth x width x heads such as '12x768x12', see
                models.vit.variant.
    patch:      (height, width) pixels, (frames, height, width) of clips, (time, mel) of
                spectrograms; they must divide the input's.
    positions:  of the encoder, 'learned' or a key of models.layers.posembed.FIXED;
                decoder_positions, those of the decoder, are fixed.
    mask_token: give the encoder an embedding for tokens that are both hidden and visible; without
                it the encoder sees the content of such tokens, so samplers that make them need it.
    heads:      {name: values per token}; None stands for the values of a patch.
    drop_path:  rate at which the encoder's last block is dropped for an example, see
                models.layers.drop_path; evaluation drops nothing.
    compute:    dtype, remat and unroll, see `layers.compute.compute`.
    params: {'encoder': ..., 'decoder': ...}.
    Raises ModelError for sizes that do not divide and names that are unknown.
    Source: MAE (arXiv 2111.06377), models_mae.py.
    """
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    encoder = vit.build_encoder(
        variant,
        common,
        class_token=class_token,
        registers=registers,
        positions=positions,
        mask_token=mask_token,
        drop_path=drop_path,
    )
    vit.check_positions(decoder_positions, posembed.FIXED)
    decoder = Decoder(
        heads=head_widths(heads, patch, spec.channels),
        positions=decoder_positions,
        size=vit.decoder_size(decoder_depth, decoder_width, decoder_heads),
        **common,
    )
    return vit_net(spec, patch=patch, encoder=encoder, decoder=decoder)
