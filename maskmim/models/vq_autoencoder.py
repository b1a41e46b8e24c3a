"""A convolutional autoencoder with a codebook: pictures to grids of codes and back.

Source: MaskGIT (arXiv 2202.04200), section 3.1; nets/vqgan_tokenizer.py and layers.py of
google-research/maskgit, which leaves out the attention of VQGAN (arXiv 2012.09841).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, DtypeName, PositiveInt, Sizes
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype
from maskmim.models.layers.encoder import BaseEncoder
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.patches import gather, patchify, unpatchify
from maskmim.models.net import picture_net, token_grid
from maskmim.training.sharding import Rules
from maskmim.types import Array, Encoded, Mask, Net, Randomness, Spec, Tree


def rules() -> Rules:
    """Return sharding rules for `config.mesh.rules`: convolutions are split along their outputs."""
    return (
        (r"conv\w*/kernel$", (None, None, None, "fsdp")),
        (r"dense\w*/kernel$", ("fsdp",)),
        (r"(bias|scale|vectors)$", ()),
    )


class GroupNorm(nn.Module):
    """Group normalisation with statistics in float32."""

    groups: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Normalise [B, h, w, C] -> [B, h, w, C]."""
        return nn.GroupNorm(self.groups, dtype=jnp.float32, name="norm")(x).astype(self.dtype)


class ResBlock(nn.Module):
    """Norm, swish, convolution, twice, added to the input.

    Where widths differ, a 1 x 1 convolution of the branch itself is added instead of the input, as
    in the official code and weights; VQGAN adds a convolution of the input.
    """

    width: int
    groups: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, h, w, C] -> [B, h, w, width]."""
        y = x
        for name in ("1", "2"):
            y = nn.swish(GroupNorm(self.groups, self.dtype, name=f"norm{name}")(y))
            conv = nn.Conv(self.width, (3, 3), use_bias=False, dtype=self.dtype, name=f"conv{name}")
            y = constraints.constrain_examples(conv(y))
        if x.shape[-1] != self.width:
            x = nn.Conv(self.width, (1, 1), use_bias=False, dtype=self.dtype, name="conv_short")(y)
        return constraints.constrain_examples(x + y)


class PictureEncoder(BaseEncoder):
    """An encoder of pictures into vectors on a grid; each level but the last halves the resolution.

    Masks have no effect: every token is encoded, not yet as a code.
    width:       channels, times a factor for each level.
    levels:      these factors.
    blocks:      residual blocks of a level, and at the end.
    codes_width: of the vectors.
    patch:       pixels of a token, 2 ** (levels - 1) on each side.
    grid:        of tokens.
    """

    width: int
    levels: tuple[int, ...]
    blocks: int
    codes_width: int
    groups: int
    patch: tuple[int, int]
    grid: tuple[int, int]
    dtype: Dtype

    def _encode(
        self,
        patches: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> Encoded:
        x = unpatchify(patches, self.patch, self.grid).astype(self.dtype)
        x = nn.Conv(self.width, (3, 3), use_bias=False, dtype=self.dtype, name="conv_in")(x)
        for level, factor in enumerate(self.levels):
            for block in range(self.blocks):
                x = self._block(factor, f"level{level}_block{block}")(x)
            if level < len(self.levels) - 1:
                x = nn.pool(x, 0.0, jax.lax.add, (2, 2), (2, 2), "VALID") / 4.0
        for block in range(self.blocks):
            x = self._block(self.levels[-1], f"last_block{block}")(x)
        x = nn.swish(GroupNorm(self.groups, self.dtype, name="norm_out")(x))
        x = nn.Conv(self.codes_width, (1, 1), dtype=self.dtype, name="conv_out")(x)
        tokens = x.astype(jnp.float32).reshape(len(x), -1, self.codes_width)
        return Encoded(tokens[:, :0], tokens)

    def _block(self, factor: int, name: str) -> ResBlock:
        return ResBlock(self.width * factor, self.groups, self.dtype, name=name)


class PictureDecoder(nn.Module):
    """A decoder of vectors on a grid into pictures: the encoder in reverse, repeating pixels."""

    width: int
    levels: tuple[int, ...]
    blocks: int
    channels: int
    groups: int
    patch: tuple[int, int]
    grid: tuple[int, int]
    dtype: Dtype

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {'pixels': f32[B, P, V]} from vectors f32[B, N, codes_width] of every token."""
        tokens = encoded.tokens
        x = tokens.reshape(len(tokens), *self.grid, tokens.shape[-1]).astype(self.dtype)
        x = self._conv(self.width * self.levels[-1], "conv_in")(x)
        for block in range(self.blocks):
            x = self._block(self.levels[-1], f"first_block{block}")(x)
        for level, factor in reversed(list(enumerate(self.levels))):
            for block in range(self.blocks):
                x = self._block(factor, f"level{level}_block{block}")(x)
            if level:
                x = x.repeat(2, axis=1).repeat(2, axis=2)
                x = self._conv(self.width * factor, f"conv_up{level}")(x)
        x = nn.swish(GroupNorm(self.groups, self.dtype, name="norm_out")(x))
        pixels = self._conv(self.channels, "conv_out")(x).astype(jnp.float32)
        return {"pixels": gather(patchify(pixels, self.patch), mask.predict)}

    def _block(self, factor: int, name: str) -> ResBlock:
        return ResBlock(self.width * factor, self.groups, self.dtype, name=name)

    def _conv(self, width: int, name: str) -> nn.Conv:
        return nn.Conv(width, (3, 3), dtype=self.dtype, name=name)


def vq_autoencoder(
    spec: Spec,
    *,
    width: PositiveInt = 128,
    levels: Sizes = (1, 1, 2, 2, 4),
    blocks: Depth = 2,
    codes: PositiveInt = 1024,
    codes_width: PositiveInt = 256,
    groups: PositiveInt = 32,
    dtype: DtypeName = "float32",
) -> Net:
    """Build the tokenizer of MaskGIT: patches of 16 pixels, 1024 codes.

    width, levels:      a level has width * factor channels; n levels make tokens of 2 ** (n - 1)
                        pixels.
    blocks:             residual blocks of a level.
    codes, codes_width: size of the codebook and of its vectors.
    groups:             of the normalisation; must divide the channels of every level.
    dtype:              of the computation, 'float32' or 'bfloat16'. The network has no loop over
                        blocks and recomputes nothing, so that it does not take `layers.compute`.

    params: {'encoder', 'decoder', 'codebook': {'vectors': f32[codes, codes_width]}}.
    `encode` returns the vectors before the codebook; `predict` takes the codes' vectors of every
    token and returns pixels. The method quantises between the two, see
    `maskmim.teachers.picture_codes`.
    Raises ModelError where the groups do not divide, or tokens do not fill the picture.
    Kernels have Flax's default initialisation, as in the official code.
    """
    if any(width * factor % groups for factor in levels):
        raise ModelError(
            f"{groups} groups do not divide the channels {[width * factor for factor in levels]}: "
            "change the groups or the width of this model"
        )
    patch = (2 ** (len(levels) - 1),) * 2
    grid = token_grid(spec.size, patch)
    sizes = {"width": width, "levels": tuple(levels), "blocks": blocks, "groups": groups}
    sizes |= {"patch": patch, "grid": grid, "dtype": jnp.dtype(dtype)}
    words = "-".join(str(width * factor) for factor in levels)
    net = picture_net(
        spec,
        patch=patch,
        width=codes_width,
        encoder=PictureEncoder(codes_width=codes_width, **sizes),
        predictor=PictureDecoder(channels=spec.channels, **sizes),
        says=(
            ("encoder", f"convolutions, {words} channels, {blocks} blocks each, {dtype}"),
            ("codebook", f"{codes} codes of {codes_width} values"),
        ),
    )

    def init(key: Array) -> Tree:
        first, second = jax.random.split(key)
        draw = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
        vectors = draw(second, (codes, codes_width))
        return {**net.init(first), "codebook": {"vectors": vectors}}

    return net._replace(init=init)
