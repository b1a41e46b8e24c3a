"""FCMAE: a ConvNeXt V2 encoder over visible cells and a convolutional decoder of one block."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from flax import linen as nn

from maskmim.config.ranges import Depth, Positive, PositiveInt, Size2D
from maskmim.models.convnext import (
    ConvNextEncoder,
    convnext_stage,
    convnext_variant,
    small_truncated,
)
from maskmim.models.layers import constraints
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.encoder import Part
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import dense_heads, describe_heads, head_widths
from maskmim.models.layers.init import small_normal
from maskmim.models.layers.patches import gather
from maskmim.models.mae_decoder import scatter_tokens
from maskmim.models.net import picture_net, token_grid
from maskmim.models.vit import part_fields
from maskmim.types import Array, Encoded, Mask, Net, Spec


class FcmaeDecoder(Part):
    """ConvNeXt V2 blocks over the whole grid of tokens, mask tokens in hidden ones.

    heads: {name: values}; a head is a dense layer on the predicted tokens alone.
    The decoder has no positions, and no norms outside its blocks, which read every cell.
    Source: ConvNeXt V2 (arXiv 2301.00808), section 3; forward_decoder of models/fcmae.py,
    facebookresearch/ConvNeXt-V2.
    """

    depth: int
    width: int
    heads: Mapping[str, int]

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {head: f32[B, P, values]} from the encoded tokens and their mask."""
        width, length = self.width, math.prod(self.grid)
        embed = Dense(width, kernel_init=small_truncated, dtype=self.dtype, name="embed")
        seen = constraints.constrain_examples(embed(encoded.tokens))
        filling = self.param("mask_token", small_normal, (1, 1, width)).astype(self.dtype)
        tokens = scatter_tokens(filling, seen, mask.visible, length)
        loop = {"remat": self.remat, "unroll": self.unroll, "name": "blocks"}
        stack = convnext_stage(self.depth, self.epsilon, self.dtype, **loop)
        x, _ = stack(tokens.reshape(-1, *self.grid, width), None)
        x = gather(x.reshape(tokens.shape), mask.predict)
        return dense_heads(self.heads, x, self.dtype, start=small_truncated)


def convnext_fcmae(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (4, 4),
    decoder_depth: Depth = 1,
    decoder_width: PositiveInt = 512,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a ConvNeXt V2 encoder that reads visible cells only, with FCMAE's decoder.

    The net's tokens are the cells of the last stage, 32 x 32 pixels for patches of 4 and four
    stages; mask, heads, targets and losses refer to them. Without a mask the encoder is the plain
    ConvNeXt V2 up to its pooling. There is no class token and no mask embedding: with a sampler
    whose hidden tokens are also visible, the encoder would see their content.

    variant: a key of models.convnext.VARIANTS (A atto, F femto, P pico, N nano, T, B, L, H), or
             width x depths, see `convnext.convnext_variant`.
    patch:   (height, width) pixels of a cell of the first stage.
    heads:   {name: values per token}; None stands for the pixel values of a token.
    Other keywords are those of `masked_vit.vit_mae`.
    params: {'encoder': ..., 'decoder': ...}; `config.mesh.rules` for them is
    maskmim.models.convnext.rules.
    Raises ModelError for sizes that do not divide and names that are unknown.
    Source: ConvNeXt V2 (arXiv 2301.00808); models/fcmae.py of facebookresearch/ConvNeXt-V2.
    Differences: every kernel is drawn from N(0, 0.02) truncated at two standard deviations. The
    PyTorch release does the same in its encoder, then FCMAE draws most kernels again with standard
    deviation 1, the default of the function that it calls; the published weights come from JAX code
    whose initialisation is not published. GRN's statistics are those of each picture, see
    `convnext.GlobalResponseNorm`.
    """
    if decoder_depth < 1:
        raise ModelError(f"a decoder of {decoder_depth} blocks: decoder_depth must be 1 or more")
    size = convnext_variant(variant)
    times = 2 ** (len(size.depths) - 1)
    unit = times * patch[0], times * patch[1]
    grid = token_grid(spec.size, unit)
    widths = head_widths(heads, unit, spec.channels)
    common = part_fields(grid, norm_eps, compute())
    blocks, dtype = "-".join(map(str, size.depths)), common["dtype"]
    plural = "block" if decoder_depth == 1 else "blocks"
    decoder = f"{decoder_depth} {plural}, width {decoder_width}, {dtype}"
    return picture_net(
        spec,
        patch=unit,
        width=size.width * times,
        encoder=ConvNextEncoder(patch=patch, size=size, **common),
        predictor=FcmaeDecoder(depth=decoder_depth, width=decoder_width, heads=widths, **common),
        says=(
            ("encoder", f"ConvNeXt V2, {blocks} blocks, width {size.width}, masked, {dtype}"),
            ("decoder", f"{decoder}, heads: {describe_heads(widths)} values"),
        ),
    )
