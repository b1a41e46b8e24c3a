"""Networks whose encoder sees every token, hidden ones as mask embeddings, and linear heads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn

from maskmim.config.ranges import FractionBelowOne, NonNegativeInt, Positive, PositiveInt, Sizes
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import dense_heads, describe_heads, head_widths
from maskmim.models.layers.posembed import Positions
from maskmim.models.net import picture_net, token_grid
from maskmim.types import Array, Encoded, Mask, Net, Spec, Tree

# U(-1 / sqrt(inputs), 1 / sqrt(inputs)): how torch initialises linear and convolution layers.
torch_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class LinearHeads(nn.Module):
    """Dense layers on the predicted tokens of an encoder that sees every token.

    heads: {name: values}.
    Source: the decoder of models/simmim.py, microsoft/SimMIM: a convolution of size 1 and a pixel
    shuffle, which is a dense layer on each token whose values are the pixels of its patch.
    Differences: values are ordered by row, column, channel, officially by channel, row, column;
    biases start at 0, officially as the kernel; computed on the predicted tokens only.
    """

    heads: Mapping[str, int]
    dtype: Dtype

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {head: f32[B, P, values]} from all N encoded tokens and the mask."""
        tokens = constraints.select_tokens(encoded.tokens, mask.predict)
        return dense_heads(self.heads, tokens, self.dtype, start=torch_uniform)


def in_place_net(
    spec: Spec,
    *,
    patch: Sizes,
    width: PositiveInt,
    encoder: nn.Module,
    heads: Mapping[str, PositiveInt | None],
    dtype: Dtype,
    says: str,
) -> Net:
    """Build a network of an encoder that sees every token, and linear heads on the predicted ones.

    patch:   size of a token of the mask, see `net.picture_net`.
    encoder: module as `net.picture_net` takes it; it may ignore `visible`, as every token enters.
    heads:   {name: values per token}; None stands for the values of a patch.
    says:    a description of the encoder.
    params: {'encoder': ..., 'decoder': {'head_<name>': ...}}.
    `encode` raises ModelError for a mask that leaves tokens out.
    """
    widths = head_widths(heads, patch, spec.channels)
    net = picture_net(
        spec,
        patch=patch,
        width=width,
        encoder=encoder,
        predictor=LinearHeads(widths, dtype),
        says=(("encoder", says), ("decoder", f"linear heads: {describe_heads(widths)} values")),
    )
    return require_every_token(net, math.prod(token_grid(spec.size, patch)))


def require_every_token(net: Net, length: int) -> Net:
    """Return the network with an `encode` that refuses fewer than `length` visible tokens."""

    def encode(params: Tree, inputs: Array, mask: Mask | None, **options: Any) -> Encoded:
        if mask is not None and mask.visible.shape[1] != length:
            raise ModelError(
                f"only {mask.visible.shape[1]} of {length} tokens enter an encoder that must see "
                "every token: wrap the sampler in maskmim.masks.roles.in_place"
            )
        return net.encode(params, inputs, mask, **options)

    return net._replace(encode=encode)


def vit_in_place(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Sizes = (16, 16),
    class_token: bool = True,
    registers: NonNegativeInt = 0,
    positions: Positions = "learned",
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a plain ViT that sees every token, hidden ones as mask embeddings, with linear heads.

    Keywords are those of `masked_vit.vit_mae`; its encoder always has the mask embedding.
    Raises ModelError for sizes that do not divide, names that are unknown, and in `encode` for a
    mask that leaves tokens out.
    Source: ViTForMaskedImageModeling of transformers (SimMIM's head on a ViT with learned
    positions); the encoders of MaskFeat and data2vec. SimMIM's own ViT is in models.relative_vit.
    """
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    encoder = vit.build_encoder(
        variant,
        common,
        class_token=class_token,
        registers=registers,
        positions=positions,
        mask_token=True,
        drop_path=drop_path,
    )
    return in_place_net(
        spec,
        patch=patch,
        width=encoder.size.width,
        encoder=encoder,
        heads=heads,
        dtype=encoder.dtype,
        says=vit.describe_blocks(encoder),
    )
