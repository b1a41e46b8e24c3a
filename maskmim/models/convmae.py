"""ConvMAE: convolutions that are blind to hidden cells, then a transformer on visible tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, Positive, PositiveInt, Size2D
from maskmim.models import convnext, vit
from maskmim.models.convnext import visible_map
from maskmim.models.in_place import torch_uniform
from maskmim.models.layers import constraints
from maskmim.models.layers.attention import Attend
from maskmim.models.layers.blocks import Blocks, Dtype, Norm, scan_blocks, xavier
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.depthwise import DepthwiseConv
from maskmim.models.layers.encoder import BaseEncoder, Part
from maskmim.models.layers.errors import check_blocks, unknown_variant
from maskmim.models.layers.heads import describe_heads, head_widths
from maskmim.models.layers.patches import gather, patchify, unpatchify
from maskmim.models.layers.posembed import sincos
from maskmim.models.mae_decoder import Decoder
from maskmim.models.net import picture_net, token_grid
from maskmim.models.vit import Size, check_size
from maskmim.training.sharding import Rules
from maskmim.types import Array, Encoded, Mask, Net, Randomness, Spec

# Of the norms in convolutional blocks and behind patch embeddings.
STAGE_EPSILON = 1e-5
# Cells of a stage that one cell of the next covers, along each axis.
MERGED = 2
# Cells of a depth-wise kernel along each axis.
SIDE = 5
# Hidden units of the MLPs, in widths.
MLP = 4


class ConvMaeSize(NamedTuple):
    """Widths and blocks of the three stages, heads of the third, hidden units of MLPs in widths."""

    widths: tuple[int, int, int]
    depths: tuple[int, int, int]
    heads: int
    mlps: tuple[int, int, int] = (MLP, MLP, MLP)


VARIANTS = {"B": ConvMaeSize((256, 384, 768), (2, 2, 11), 12)}


def convmae_variant(name: str) -> ConvMaeSize:
    """Return the size of a named variant, or of widths x depths x heads.

    name: a key of VARIANTS, or '256-384-768x2-2-11x12'.
    Raises ModelError for any other name, and where the heads do not divide the last width.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    number = r"[1-9]\d*"
    triple = rf"{number}-{number}-{number}"
    if not re.fullmatch(rf"{triple}x{triple}x{number}", name):
        form = "widths x depths x heads such as '256-384-768x2-2-11x12'"
        raise unknown_variant("ConvMAE", name, VARIANTS, form)
    widths, depths, heads = (tuple(map(int, part.split("-"))) for part in name.split("x"))
    check_blocks(sum(depths))
    check_size(Size(depths[2], widths[2], heads[0], MLP * widths[2]), f"the variant {name!r}")
    return ConvMaeSize(widths, depths, heads[0])


def describe_stages(size: ConvMaeSize, dtype: Dtype) -> str:
    """Return an encoder of three stages in words."""
    stages = " and ".join(
        f"{depth} x {width}" for depth, width in zip(size.depths, size.widths, strict=True)
    )
    return f"masked convolutions, then {size.heads} heads, blocks x width {stages}, {dtype}"


def rules() -> Rules:
    """Return sharding rules for `config.mesh.rules`: those of `convnext` and dense layers on cells.

    The layers of a convolutional block are split over `tensor` along its hidden units.
    """
    return (
        (r"blocks/(enter|up)/kernel$", (None, "fsdp", "tensor")),
        (r"blocks/(leave|down)/kernel$", (None, "tensor", "fsdp")),
        *convnext.rules(),
    )


class MaskedConvBlock(nn.Module):
    """A convolutional block that reads visible cells only.

    Only the depth-wise convolution reads other cells, and hidden ones are zeros to it. So a hidden
    cell may hold any finite value: no visible cell reads it.
    mlp: hidden units of the MLP, in widths.
    Source: CBlock of vision_transformer.py, Alpha-VL/ConvMAE; the paper (arXiv 2205.03892),
    section 3.2. Difference: biases start at 0, officially as torch's convolutions do.
    """

    dtype: Dtype
    mlp: int = MLP

    @nn.compact
    def __call__(self, x: Array, seen: Array | None) -> tuple[Array, None]:
        """Map [B, h, w, D] -> ([B, h, w, D], None).

        seen: f32[B, h, w, 1], 1 where visible; None where everything is.
        """
        width = x.shape[-1]
        dense = partial(Dense, kernel_init=torch_uniform, dtype=self.dtype)
        depthwise = DepthwiseConv(SIDE, torch_uniform, self.dtype, name="depthwise")
        x = constraints.constrain_examples(x)
        y = dense(width, name="enter")(Norm(STAGE_EPSILON, self.dtype, name="norm1")(x))
        y = depthwise(y if seen is None else y * seen.astype(y.dtype))
        y = constraints.constrain_examples(y)
        x = constraints.constrain_examples(x + dense(width, name="leave")(y))
        y = dense(self.mlp * width, name="up")(Norm(STAGE_EPSILON, self.dtype, name="norm2")(x))
        y = dense(width, name="down")(nn.gelu(y, approximate=False))
        return constraints.constrain_examples(x + y), None


class ConvMaeEncoder(BaseEncoder, Part):
    """Two stages of masked convolutions on all cells, then transformer blocks on visible tokens.

    grid:  (rows, columns) of the tokens, which are the cells of the third stage.
    patch: (height, width) pixels of a cell of the first stage.
    A mask is drawn for tokens; in the finer stages a cell is hidden where its token is. Embeddings
    read the pixels of one token only, as their kernels are as large as their strides. There is no
    class token, no mask embedding, and no norm behind the last block: see `FusingDecoder`.
    Captured stages are those of convolutions, and without a mask the third, too.
    Source: forward_encoder of models_convmae.py, Alpha-VL/ConvMAE, and forward_features of
    models_convvit.py, the encoder of fine-tuning.
    Difference: the third stage embeds the visible tokens alone; officially all, then it drops most.
    """

    captures: ClassVar[tuple[str, ...]] = ("stages",)
    patch: tuple[int, int]
    size: ConvMaeSize
    attend: Attend

    def _encode(
        self,
        units: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> Encoded:
        times = MERGED**2
        unit = times * self.patch[0], times * self.patch[1]
        x = unpatchify(units, unit, self.grid).astype(self.dtype)
        stages = []
        for stage, sides in enumerate((self.patch, (MERGED, MERGED))):
            x = self._embed_cells(x, stage, sides)
            seen = None
            if visible is not None:
                seen = visible_map(visible, self.grid, times // MERGED**stage)
            loop = {"depth": self.size.depths[stage], "remat": self.remat, "unroll": self.unroll}
            make = scan_blocks(MaskedConvBlock, **loop, in_axes=nn.broadcast)
            x, _ = make(self.dtype, self.size.mlps[stage], name=f"stage{stage}_blocks")(x, seen)
            stages.append(x)
        tokens = self._transform(self._embed_tokens(x, visible))
        if visible is None:
            stages.append(tokens.reshape(-1, *self.grid, tokens.shape[-1]))
        return Encoded(tokens[:, :0], tokens, stages=tuple(stages) if "stages" in capture else None)

    def _embed_cells(self, x: Array, stage: int, sides: tuple[int, int]) -> Array:
        """Return the cells that enter a convolutional stage: f32[B, h, w, D]."""
        name = ("stem", "down1")[stage]
        options = {"strides": sides, "padding": "VALID", "kernel_init": torch_uniform}
        width = self.size.widths[stage]
        x = nn.Conv(width, sides, dtype=self.dtype, name=name, **options)(x)
        x = Norm(STAGE_EPSILON, self.dtype, name=f"{name}_norm")(constraints.constrain_examples(x))
        return nn.gelu(x, approximate=False)

    def _embed_tokens(self, cells: Array, visible: Array | None) -> Array:
        """Return visible tokens with positions, of the second stage's cells: f32[B, K, D]."""
        width = self.size.widths[2]
        patches = visible_patches(cells, (MERGED, MERGED), visible)
        dense = partial(Dense, width, kernel_init=xavier, dtype=self.dtype)
        x = constraints.embed_tokens(dense(name="embed"), patches)
        x = nn.gelu(Norm(STAGE_EPSILON, self.dtype, name="embed_norm")(x), approximate=False)
        x = constraints.embed_tokens(dense(name="project"), x)
        positions = jnp.asarray(sincos(width, self.grid), self.dtype)
        if visible is not None:
            positions = positions.at[visible].get(mode="promise_in_bounds")
        return x + positions.reshape(-1, *x.shape[1:])

    def _transform(self, x: Array) -> Array:
        size, width = self.size, self.size.widths[2]
        shape = size.depths[2], size.heads, size.mlps[2] * width, self.epsilon, self.dtype
        return Blocks(*shape, self.attend, self.remat, self.unroll, name="stack")(x)[0]


def visible_patches(cells: Array, sides: tuple[int, int], visible: Array | None) -> Array:
    """Return the values of each visible token's cells: [B, h, w, D] -> [B, K, D * prod(sides)]."""
    patches = constraints.constrain_examples(patchify(cells, sides))
    return patches if visible is None else constraints.constrain_examples(gather(patches, visible))


def fuse_stages(part: Part, encoded: Encoded, visible: Array) -> Array:
    """Return the normalised sum of all three stages at the visible tokens: [B, K, D].

    The cells of the convolutional stages come to a token by a dense layer each of the calling part.
    Source: stage1_output_decode, stage2_output_decode and norm of models_convmae.py,
    Alpha-VL/ConvMAE. Difference: fuses visible tokens only, officially all, then it drops most.
    """
    tokens = encoded.tokens
    for stage, cells in enumerate(encoded.stages[:2]):
        sides = (MERGED ** (2 - stage),) * 2
        dense = partial(Dense, tokens.shape[-1], kernel_init=torch_uniform, dtype=part.dtype)
        patches = visible_patches(cells, sides, visible)
        tokens = tokens + constraints.embed_tokens(dense(name=f"fuse{stage}"), patches)
    return Norm(part.epsilon, part.dtype, name="fused_norm")(tokens)


class FusingDecoder(Decoder):
    """MAE's decoder, which reads the sum of all three stages at the visible tokens.

    Fine-tuning drops the layers of `fuse_stages` with the decoder: the paper's multi-scale decoder.
    """

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {head: f32[B, P, values]} from tokens and captured stages, and the mask."""
        tokens = fuse_stages(self, encoded, mask.visible)
        return super().__call__(encoded._replace(tokens=tokens), mask)


def convmae(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (4, 4),
    decoder_depth: Depth = 8,
    decoder_width: PositiveInt = 512,
    decoder_heads: PositiveInt = 16,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build ConvMAE: two stages of masked convolutions, a ViT on visible tokens, MAE's decoder.

    The net's tokens are the cells of the third stage, 16 x 16 pixels for patches of 4; mask, heads,
    targets and losses refer to them. There is no mask embedding: with a sampler whose hidden tokens
    are also visible, the encoder would see their content. The convolutional stages compute hidden
    cells too and discard them.

    variant: a key of VARIANTS, or widths x depths x heads, see `convmae_variant`.
    patch:   (height, width) pixels of a cell of the first stage.
    heads:   {name: values per token}; None stands for the pixel values of a token.
    Other keywords are those of `masked_vit.vit_mae`.
    params: {'encoder': ..., 'decoder': ...}; `config.mesh.rules` for them is
    maskmim.models.convmae.rules.
    Raises ModelError for sizes that do not divide and names that are unknown.
    Source: ConvMAE (arXiv 2205.03892); models_convmae.py of Alpha-VL/ConvMAE.
    """
    size = convmae_variant(variant)
    unit = MERGED**2 * patch[0], MERGED**2 * patch[1]
    common = vit.stack_fields(token_grid(spec.size, unit), norm_eps, compute())
    decoder = FusingDecoder(
        heads=head_widths(heads, unit, spec.channels),
        size=vit.decoder_size(decoder_depth, decoder_width, decoder_heads),
        **common,
    )
    return convmae_net(spec, ConvMaeEncoder(patch=patch, size=size, **common), decoder)


def convmae_net(spec: Spec, encoder: ConvMaeEncoder, decoder: FusingDecoder) -> Net:
    """Return the network of an encoder and a decoder that fuses its stages."""
    size, side = encoder.size, MERGED**2
    heads = f"heads: {describe_heads(decoder.heads)} values"
    return picture_net(
        spec,
        patch=(side * encoder.patch[0], side * encoder.patch[1]),
        width=size.widths[2],
        encoder=encoder,
        predictor=decoder,
        captures=("stages",),
        says=(
            ("encoder", describe_stages(size, encoder.dtype)),
            ("decoder", f"{vit.describe_blocks(decoder)}, {heads}"),
        ),
    )
