"""A2MIM: hidden pixels become the picture's mean colour, and a mask token is added to features."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import (
    Fraction,
    FractionBelowOne,
    NonNegativeInt,
    Positive,
    PositiveInt,
    Size2D,
)
from maskmim.models import vit
from maskmim.models.in_place import LinearHeads, require_every_token
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import describe_heads, head_widths
from maskmim.models.layers.init import small_normal, with_init
from maskmim.models.layers.patches import upsample_tokens
from maskmim.models.net import picture_net, token_grid
from maskmim.models.relative_vit import INIT_RULES, RelativeEncoder, relative_net
from maskmim.models.resnet import ResNetEncoder, resnet_variant
from maskmim.types import Array, Net, Spec


def fill_with_means(patches: Array, hidden: Array, channels: int) -> Array:
    """Replace the values of hidden patches by the picture's mean of each channel.

    patches: f32[B, N, V] in row, column, channel order. hidden: bool[B, N].
    The mean is that of all pixels, hidden ones too.
    Source: BlockwiseMaskGenerator of openmixup/datasets/pipelines/transforms.py with
    mask_color='mean', Westlake-AI/openmixup.
    """
    examples, _, values = patches.shape
    means = patches.reshape(examples, -1, channels).mean(axis=1)
    filling = jnp.tile(means, values // channels)[:, None].astype(patches.dtype)
    return jnp.where(hidden[..., None], filling, patches)


def add_token(features: Array, hidden: Array, token: Array, scale: Array | float) -> Array:
    """Scale the features of hidden cells and add the mask token to them.

    features: f32[..., D]. hidden: bool[..., 1]. token, scale: f32[D] with as many axes.
    Source: forward_mask of openmixup/models/backbones/mim_vit.py (scale 1) and mim_resnet.py with
    replace=False, Westlake-AI/openmixup.
    """
    return jnp.where(hidden, features * scale + token, features)


class FilledVit(RelativeEncoder):
    """SimMIM's encoder of filled pictures, with the mask token added to hidden embeddings."""

    channels: int

    def _embed_patches(self, patches: Array, hidden: Array | None) -> Array:
        if hidden is None:
            return self._linear(patches)
        tokens = self._linear(fill_with_means(patches, hidden, self.channels))
        return add_token(tokens, hidden[..., None], self._mask_token(), 1.0)


class FilledResNet(ResNetEncoder):
    """A ResNet of filled pictures, with the mask token added before one of its stages.

    There the features of hidden cells are scaled by learnt factors of each channel first.
    masked_stage: the stage's number, from 0. start: the factors' initial value.
    """

    channels: int
    masked_stage: int
    start: float

    def _fill(self, patches: Array, hidden: Array | None) -> Array:
        return patches if hidden is None else fill_with_means(patches, hidden, self.channels)

    def _before(self, stage: int, x: Array, hidden: Array | None) -> Array:
        if stage != self.masked_stage:
            return x
        width = x.shape[-1]
        token = self.param("mask_token", small_normal, (1, 1, 1, width)).astype(x.dtype)
        scale = self.param("mask_scale", nn.initializers.constant(self.start), (1, 1, 1, width))
        if hidden is None:
            return x
        times = x.shape[1] // self.grid[0]
        cells = upsample_tokens(hidden, self.grid, times)[..., None]
        return add_token(x, cells, token, scale.astype(x.dtype))


def a2mim_vit(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (16, 16),
    layer_scale: Positive = 0.1,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.1,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build SimMIM's ViT of pictures whose hidden patches have the mean colour.

    Keywords are those of `relative_vit.relative_vit_in_place`. The mask token is added to the
    embeddings of hidden patches.
    Raises ModelError as `in_place.vit_in_place` does.
    Source: A2MIM (arXiv 2205.13943); SimMIMViT of openmixup/models/backbones/mim_vit.py with
    mask_layer=0 and replace=False, Westlake-AI/openmixup. Differences: those of
    `relative_vit_in_place`; the official ViT has a table of relative biases in each block and
    learned positions besides.
    """
    common = vit.part_fields(token_grid(spec.size, patch), norm_eps, compute())
    own = {"size": vit.variant(variant), "layer_scale": layer_scale, "drop_path": drop_path}
    encoder = FilledVit(**own, channels=spec.channels, **common)
    net = relative_net(spec, encoder, patch, heads, "mean colours, added mask token")
    return with_init(net, INIT_RULES)


def a2mim_resnet(
    spec: Spec,
    *,
    variant: str = "50",
    masked_stage: NonNegativeInt = 3,
    start: Fraction = 1e-6,
    momentum: FractionBelowOne = 0.9,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a ResNet of pictures whose hidden units have the mean colour, with linear heads.

    The net's tokens are the cells of the last stage, 32 x 32 pixels for four stages.

    variant:      a key of models.resnet.VARIANTS, or width x depths, see `resnet.resnet_variant`.
    masked_stage: the stage, from 0, before which features of hidden units are scaled and the mask
                  token is added.
    start:        the initial factor of these features.
    momentum:     share of the running averages of batch norms that a step keeps.
    heads:        as in `in_place.vit_in_place`; compute: without `unroll`, as there is no loop.
    params: {'encoder': ..., 'decoder': {'head_<name>': ...}}; `config.mesh.rules` for them is
    maskmim.models.resnet.rules.
    Raises ModelError for sizes that do not divide, names and stages that are unknown, and in
    `encode` for a mask that leaves tokens out.
    Source: A2MIM (arXiv 2205.13943); MIMResNet of openmixup/models/backbones/mim_resnet.py,
    Westlake-AI/openmixup. The last norm of each block starts at 0 (zero_init_residual).
    """
    size = resnet_variant(variant)
    if masked_stage >= len(size.depths):
        raise ModelError(
            f"masked_stage {masked_stage}: this ResNet has the stages 0 to {len(size.depths) - 1}"
        )
    patch = (size.stride, size.stride)
    grid = token_grid(spec.size, patch)
    common = vit.part_fields(grid, 1e-5, compute())
    own = {"channels": spec.channels, "masked_stage": masked_stage, "start": start}
    widths = head_widths(heads, patch, spec.channels)
    blocks, dtype = "-".join(map(str, size.depths)), common["dtype"]
    words = f"ResNet, {blocks} blocks, width {size.width}, {dtype}, mean colours, added mask token"
    net = picture_net(
        spec,
        patch=patch,
        width=size.channels,
        encoder=FilledResNet(size=size, **own, **common),
        predictor=LinearHeads(widths, dtype),
        norms=momentum,
        says=(("encoder", words), ("decoder", f"linear heads: {describe_heads(widths)} values")),
    )
    starts = (
        (r"norm3/scale$", lambda key, old: jnp.zeros_like(old)),
        (r"head_\w+/kernel$", lambda key, old: small_normal(key, old.shape, old.dtype)),
    )
    return with_init(require_every_token(net, math.prod(grid)), starts)
