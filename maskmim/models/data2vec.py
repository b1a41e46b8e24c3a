"""data2vec 2.0 for pictures: a ViT whose norms follow the sums, and a convolutional decoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import (
    Depth,
    FractionBelowOne,
    NonNegative,
    Positive,
    PositiveInt,
    Size2D,
)
from maskmim.models import vit
from maskmim.models.in_place import torch_uniform
from maskmim.models.layers import constraints
from maskmim.models.layers.attention import Attend
from maskmim.models.layers.blocks import (
    CAPTURES,
    Attention,
    Dtype,
    Mlp,
    Norm,
    scale_branch,
    scan_blocks,
)
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.drop_path import drop_path_factors
from maskmim.models.layers.encoder import Part
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import dense_heads
from maskmim.models.layers.init import draw_normal, with_init
from maskmim.models.mae_decoder import scatter_tokens
from maskmim.models.net import picture_net, token_grid
from maskmim.models.vit import Encoder
from maskmim.types import Array, Encoded, Mask, Net, Randomness, Spec

NORM_EPSILON = 1e-5  # of the norms between convolutions

INIT_RULES = (
    (r"blocks/.*kernel$", draw_normal),
    (r"class_token$", lambda key, old: jax.random.normal(key, old.shape, old.dtype)),
    (r"head_\w+/kernel$", lambda key, old: torch_uniform(key, old.shape, old.dtype)),
)


class PostNormBlock(nn.Module):
    """A transformer block with a norm after each sum, as the first transformer had it."""

    heads: int
    hidden: int
    epsilon: float
    dtype: Dtype
    attend: Attend
    capture: tuple[str, ...] = ()

    @nn.compact
    def __call__(self, x: Array, keep: Array | None) -> tuple[Array, dict[str, Array]]:
        """Map [B, n, D] -> ([B, n, D], captures); keep: f32[B, 2] factors of both branches."""
        norm = partial(Norm, self.epsilon, self.dtype)
        x = constraints.constrain_tokens(x)
        mixed, first = Attention(self.heads, self.dtype, self.attend, name="attention")(x)
        x = constraints.constrain_tokens(norm(name="norm1")(x + scale_branch(mixed, keep, 0)))
        y = Mlp(self.hidden, self.dtype, name="mlp")(x)
        x = constraints.constrain_tokens(norm(name="norm2")(x + scale_branch(y, keep, 1)))
        captures = {"layers": x, "attention": first, "mlps": y}
        return x, {name: captures[name] for name in self.capture}


class PostNormEncoder(Encoder):
    """A ViT of `PostNormBlock` layers behind a first norm, without a norm at the end."""

    captures: ClassVar[tuple[str, ...]] = ("embedded", *CAPTURES, "mlps")

    def _run_blocks(
        self,
        x: Array,
        visible: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> tuple[Array, dict[str, Array]]:
        size = self.size
        keep = drop_path_factors(randomness, depth=size.depth, rate=self.drop_path)
        x = Norm(self.epsilon, self.dtype, name="first_norm")(x)
        make = scan_blocks(PostNormBlock, depth=size.depth, remat=self.remat, unroll=self.unroll)
        shape = size.heads, size.hidden, self.epsilon, self.dtype, self.attend
        return make(*shape, capture, name="blocks")(x, keep)


class GroupedConv(nn.Module):
    """A convolution of groups of channels by themselves, with zeros beyond the border.

    width: channels that leave. side: cells of the kernel along each axis, an odd number.
    The kernel f32[channels that enter, side, side, width / groups] is multiplied shift by shift.
    """

    width: int
    side: int
    groups: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, h, w, D] -> [B, h, w, width]."""
        *outer, width = x.shape
        each, side = self.width // self.groups, self.side
        kernel = self.param("kernel", self._draw, (width, side, side, each))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        kernel = kernel.reshape(self.groups, -1, side, side, each).astype(self.dtype)
        edge = (side // 2, side // 2)
        padded = jnp.pad(x.astype(self.dtype), ((0, 0), edge, edge, (0, 0)))
        padded = padded.reshape(*padded.shape[:3], self.groups, -1)
        rows, columns = outer[1:]
        total = sum(
            jnp.einsum(
                "bhwgi,gio->bhwgo",
                padded[:, row : row + rows, column : column + columns],
                kernel[:, :, row, column],
            )
            for row in range(side)
            for column in range(side)
        )
        return total.reshape(*outer, self.width) + bias.astype(self.dtype)[None, None, None]

    def _draw(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Draw a kernel as torch does, whose bound is by the values that a result sums."""
        bound = (shape[0] // self.groups * self.side**2) ** -0.5
        return jax.random.uniform(key, shape, jnp.float32, -bound, bound)


class ConvDecoder(Part):
    """Grouped convolutions over the whole grid, with noise where nothing is visible.

    values: of each predicted token. depth, width, side, groups: of the convolutions, each followed
    by a norm without factors and a GELU; a layer that keeps the width is added to what entered it.
    noise:  standard deviation of what fills hidden tokens, drawn anew in training and 0 otherwise.
    Source: decoder_input of modalities/base.py and Decoder2d of modalities/modules.py.
    """

    values: int
    depth: int
    width: int
    side: int
    groups: int
    noise: float

    @nn.compact
    def __call__(
        self, encoded: Encoded, mask: Mask, randomness: Randomness | None = None
    ) -> dict[str, Array]:
        """Predict {'features': f32[B, P, values], 'class': f32[B, 1, D]}, the class token itself.

        randomness: of the noise; without it there is none.
        """
        seen = constraints.constrain_examples(encoded.tokens)
        filling = self._filling(randomness, seen)
        x = scatter_tokens(filling, seen, mask.visible, math.prod(self.grid))
        x = x.reshape(len(x), *self.grid, -1)
        for layer in range(self.depth):
            conv = GroupedConv(self.width, self.side, self.groups, self.dtype, name=f"conv_{layer}")
            y = nn.gelu(_normalise(conv(x)), approximate=False)
            x = x + y if x.shape == y.shape else y
        x = constraints.select_tokens(x.reshape(len(x), -1, self.width), mask.predict)
        made = dense_heads({"features": self.values}, x, self.dtype)
        return {**made, "class": encoded.prefix[:, :1].astype(jnp.float32)}

    def _filling(self, randomness: Randomness | None, seen: Array) -> Array:
        """Return what stands at hidden tokens, [B, N, D] or [1, 1, D]."""
        shape = math.prod(self.grid), seen.shape[-1]
        if randomness is None or not self.noise:
            return jnp.zeros((1, 1, shape[1]), self.dtype)
        draw = jax.vmap(lambda key: jax.random.normal(key, shape, jnp.float32))
        return (self.noise * draw(randomness.each("filling"))).astype(self.dtype)


def _normalise(x: Array) -> Array:
    """Give the channels of each cell mean 0 and variance 1, as a LayerNorm without factors."""
    values = x.astype(jnp.float32)
    mean = jnp.mean(values, axis=-1, keepdims=True)
    variance = jnp.var(values, axis=-1, keepdims=True)
    return ((values - mean) / jnp.sqrt(variance + NORM_EPSILON)).astype(x.dtype)


def vit_data2vec(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (16, 16),
    decoder_depth: Depth = 6,
    decoder_width: PositiveInt = 768,
    decoder_side: PositiveInt = 3,
    groups: PositiveInt = 16,
    noise: NonNegative = 0.01,
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build data2vec 2.0's encoder over visible patches and its convolutional decoder.

    decoder_depth, decoder_width, decoder_side, groups, noise: see `ConvDecoder`.
    Other keywords are those of `masked_vit.vit_mae`. Heads are 'features', f32[B, P, D], and
    'class', f32[B, 1, D], the encoder's class token. It captures 'mlps', see `Encoded`.
    params: {'encoder': ..., 'decoder': ...}.
    Raises ModelError for sizes that do not divide, for an even side and names that are unknown.
    Source: data2vec 2.0 (arXiv 2212.07525), examples/data2vec/models of facebookresearch/fairseq,
    with the settings of config/v2/base_images_only_task.yaml. Difference: biases of convolutions
    and of the last layer start at 0, officially as their kernels.
    """
    grid, settings = token_grid(spec.size, patch), compute()
    encoder = PostNormEncoder(
        size=vit.variant(variant),
        class_token=True,
        registers=0,
        positions="sincos",
        mask_token=False,
        drop_path=drop_path,
        last_norm=False,
        **vit.stack_fields(grid, norm_eps, settings),
    )
    width = encoder.size.width
    check_groups((width, decoder_width), side=decoder_side, groups=groups)
    decoder = ConvDecoder(
        values=width,
        depth=decoder_depth,
        width=decoder_width,
        side=decoder_side,
        groups=groups,
        noise=noise,
        **vit.part_fields(grid, norm_eps, settings),
    )
    words = f"{decoder_depth} convolutions of side {decoder_side}, {groups} groups, width "
    words += f"{decoder_width}, heads: features {width}, class {width} values"
    net = picture_net(
        spec,
        patch=patch,
        width=width,
        encoder=encoder,
        predictor=decoder,
        says=(("encoder", vit.describe_blocks(encoder)), ("decoder", words)),
    )
    return with_init(net, INIT_RULES)


def check_groups(widths: tuple[int, int], *, side: int, groups: int) -> None:
    """Raise ModelError for an even side, and groups that do not divide the widths."""
    if side % 2 == 0 or any(width % groups for width in widths):
        raise ModelError(
            f"a decoder of side {side} and {groups} groups from {widths[0]} to {widths[1]} "
            "channels: use an odd side, and groups that divide both"
        )
