"""MViTv2 as MaskFeat trains it on clips: it sees every token, hidden ones as mask embeddings.

Source: MViTv2 (arXiv 2112.01526); slowfast/models/{attention,video_model_builder,masked}.py,
facebookresearch/SlowFast, with k400_MVITv2_S_16x4_MaskFeat_PT.yaml and its L: widths double in the
MLP (DIM_MUL_IN_ATT off, as in MViTv1), and the last stage does not pool queries, so that the output
has 14 x 14 places.
The stem's windows of 3 x 7 x 7 pixels overlap: a visible token of the stem sees 3 pixels of a
hidden cube above or to the left of it, and the last frame of a hidden cube before it, as in the
official code.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import FractionBelowOne, Positive, PositiveInt
from maskmim.errors import count_of
from maskmim.models.in_place import in_place_net
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype, Norm, scale_branch, scan_blocks, with_remat
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.drop_path import drop_path_factors
from maskmim.models.layers.encoder import BaseEncoder, Part
from maskmim.models.layers.errors import ModelError, unknown_variant
from maskmim.models.layers.init import draw_normal, small_normal, with_init
from maskmim.models.layers.patches import unpatchify, upsample_tokens
from maskmim.models.layers.pooling_attention import Grid, PoolingAttention, pooled_grid
from maskmim.models.net import token_grid
from maskmim.models.vit import part_fields
from maskmim.training.sharding import Rules, transformer
from maskmim.types import Array, Encoded, Net, Randomness, Spec

STRIDE = (2, 4, 4)  # Of the stem, in frames, rows and columns.
KEY_STRIDE = 8  # Of keys and values on the stem's grid; halved wherever queries are pooled.


class MvitSize(NamedTuple):
    """Depth, width and heads of the first block, and the blocks where that changes.

    doubles: blocks with twice the heads and width of the block before.
    pools:   blocks whose queries are pooled by 2 in rows and columns.
    """

    depth: int
    width: int
    heads: int
    doubles: tuple[int, ...]
    pools: tuple[int, ...]


VARIANTS = {
    "nano": MvitSize(4, 8, 1, (1,), (1,)),
    "S": MvitSize(16, 96, 1, (1, 3, 14), (1, 3)),
    "L": MvitSize(48, 144, 2, (2, 8, 44), (2, 8)),
}


class Shape(NamedTuple):
    """What stacked blocks have in common: widths before and after, heads, grid and strides."""

    width: int
    after: int
    heads: int
    grid: Grid
    query_stride: int
    key_stride: int


def block_shapes(size: MvitSize, grid: Grid) -> list[Shape]:
    """Return the shape of every block; grid: of the stem's tokens.

    The width doubles in the MLP of the block before the one listed in `doubles`.
    """
    shapes = []
    width, heads, keys = size.width, size.heads, KEY_STRIDE
    for place in range(size.depth):
        heads = 2 * heads if place in size.doubles else heads
        after = 2 * width if place + 1 in size.doubles else width
        stride = 2 if place in size.pools else 1
        keys = max(keys // stride, 1)
        shapes.append(Shape(width, after, heads, grid, stride, keys))
        width, grid = after, pooled_grid(grid, stride)
    return shapes


class WideningMlp(nn.Module):
    """Two dense layers with an exact GELU between them, the second to another width."""

    hidden: int
    width: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, n, D] -> [B, n, width]."""
        up = Dense(self.hidden, kernel_init=small_normal, dtype=self.dtype, name="up")
        down = Dense(self.width, kernel_init=small_normal, dtype=self.dtype, name="down")
        return down(nn.gelu(up(x), approximate=False))


class MvitBlock(nn.Module):
    """A pre-norm block of pooling attention and an MLP that may widen the tokens.

    Where the width changes, the MLP's shortcut is a linear map of the normalised tokens; where
    queries are pooled, the attention's shortcut is a maximum over neighbours.
    """

    shape: Shape
    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array, keep: Array | None) -> tuple[Array, None]:
        """Map [B, 1 + N, D] -> ([B, 1 + N', D'], None); keep: f32[B, 2] factors of branches."""
        shape = self.shape
        x = constraints.constrain_examples(x)
        y = Norm(self.epsilon, self.dtype, name="norm1")(x)
        mixed = PoolingAttention(
            shape.heads,
            shape.grid,
            shape.query_stride,
            shape.key_stride,
            self.epsilon,
            self.dtype,
            name="attention",
        )(y)
        x = constraints.constrain_examples(shortcut(x, shape) + scale_branch(mixed, keep, 0))
        y = Norm(self.epsilon, self.dtype, name="norm2")(x)
        branch = WideningMlp(4 * shape.width, shape.after, self.dtype, name="mlp")(y)
        if shape.after != shape.width:
            x = Dense(shape.after, kernel_init=small_normal, dtype=self.dtype, name="skip")(y)
        return constraints.constrain_examples(x + scale_branch(branch, keep, 1)), None


def shortcut(x: Array, shape: Shape) -> Array:
    """Return what a pooling attention is added to: maxima over 3 x 3 places with stride 2, or x."""
    if shape.query_stride == 1:
        return x
    stride, side = shape.query_stride, shape.query_stride + 1
    clips = x[:, 1:].reshape(len(x), *shape.grid, shape.width)
    rim = side // 2, side // 2
    largest = nn.max_pool(clips, (1, side, side), (1, stride, stride), ((0, 0), rim, rim))
    return jnp.concatenate([x[:, :1], largest.reshape(len(x), -1, shape.width)], axis=1)


class MvitEncoder(BaseEncoder, Part):
    """A convolutional stem, mask embeddings, a class token, blocks and a last norm.

    grid: (frames, rows, columns) of the last block's tokens, which the mask refers to.
    Every token enters whatever `visible` says, see `in_place.in_place_net`. Nothing can be
    captured: the blocks differ in the number and width of their tokens. Successive blocks of one
    shape are stacked and run by one scan, see `sharding_rules`.
    """

    size: MvitSize
    drop_path: float

    def _encode(
        self,
        cubes: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> Encoded:
        x, grid = self._embed(cubes, hidden)
        keep = drop_path_factors(randomness, depth=self.size.depth, rate=self.drop_path)
        first = 0
        for shape, alike in itertools.groupby(block_shapes(self.size, grid)):
            count = len(list(alike))
            factors = None if keep is None else keep[first : first + count]
            x = self._run(x, factors, count, shape, first)
            first += count
        x = Norm(self.epsilon, self.dtype, name="norm")(x)
        return Encoded(x[:, :1], x[:, 1:])

    def _embed(self, cubes: Array, hidden: Array | None) -> tuple[Array, Grid]:
        """Return the stem's tokens [B, 1 + n, width], hidden ones as mask embeddings; the grid."""
        times, width = 2 ** len(self.size.pools), self.size.width
        cube = STRIDE[0], times * STRIDE[1], times * STRIDE[2]
        clips = unpatchify(cubes.astype(self.dtype), cube, self.grid)
        x = nn.Conv(
            width,
            (3, 7, 7),
            strides=STRIDE,
            padding=((1, 1), (3, 3), (3, 3)),
            kernel_init=small_normal,
            dtype=self.dtype,
            name="stem",
        )(clips)
        x = constraints.constrain_examples(x)
        grid = x.shape[1:4]
        filling = self.param("mask_token", small_normal, (1, 1, width)).astype(self.dtype)
        x = x.reshape(len(x), -1, width)
        if hidden is not None:
            fine = upsample_tokens(hidden, self.grid, times).reshape(len(x), -1, 1)
            x = jnp.where(fine, filling, x)
        first = self.param("class_token", small_normal, (1, 1, width)).astype(self.dtype)
        first = jnp.broadcast_to(first, (len(x), 1, width))
        return jnp.concatenate([first, x], axis=1), grid

    def _run(self, x: Array, keep: Array | None, count: int, shape: Shape, first: int) -> Array:
        """Run `count` blocks of a shape: one directly, several under one scan."""
        fields = shape, self.epsilon, self.dtype
        if count == 1:
            block = with_remat(MvitBlock, self.remat)
            return block(*fields, name=f"block{first}")(x, None if keep is None else keep[0])[0]
        make = scan_blocks(MvitBlock, depth=count, remat=self.remat, unroll=self.unroll)
        return make(*fields, name=f"from{first}_blocks")(x, keep)[0]


def sharding_rules() -> Rules:
    """Return `sharding.transformer`, also for single blocks; convolutions are replicated."""
    stacked = [(path, axes) for path, axes in transformer() if path.startswith("blocks/")]
    single = [(path.replace("blocks/", r"block\d+/"), axes[1:]) for path, axes in stacked]
    return ((r"(conv|stem)/kernel$", ()), *single, *transformer())


def mvit_in_place(
    spec: Spec,
    *,
    variant: str = "S",
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build MViTv2 for clips, which sees every token, hidden ones as mask embeddings; linear heads.

    The net's tokens are those of the last block, cubes of 2 x 16 x 16 pixels for S and L; the mask,
    `Encoded.tokens`, heads, targets and losses refer to them. A hidden one covers 16 tokens of the
    stem, all of which carry the mask embedding. The network has a class token, and relative
    positions in every block instead of absolute ones.

    variant: a key of VARIANTS.
    heads:   {name: values per token}; None stands for a cube's pixels.
    Other keywords are those of `masked_vit.vit_mae`.
    Raises ModelError for a variant that is unknown, for clips whose rows and columns do not divide
    by 32, and in `encode` for a mask that leaves tokens out.
    Source: see the module. Differences: kernels are drawn from N(0, 0.02), which the official code
    truncates at -2 and 2; biases start at 0, officially those of the encoder at 0.02.
    """
    if variant not in VARIANTS:
        raise unknown_variant("MViT", variant, VARIANTS)
    size = VARIANTS[variant]
    times = 2 ** len(size.pools)
    cube = STRIDE[0], times * STRIDE[1], times * STRIDE[2]
    grid = token_grid(spec.size, cube)
    if any(side % (STRIDE[1] * KEY_STRIDE) for side in spec.size[1:]):
        raise ModelError(
            f"clips of {spec.size[1]}x{spec.size[2]} pixels: MViT pools keys by 32, change "
            "input.size to multiples of it"
        )
    common = part_fields(grid, norm_eps, compute())
    encoder = MvitEncoder(size=size, drop_path=drop_path, **common)
    blocks = count_of(size.depth, "block")
    says = f"MViTv2, {blocks}, width {size.width} to {_output_width(size)}, {encoder.dtype}"
    net = in_place_net(
        spec,
        patch=cube,
        width=_output_width(size),
        encoder=encoder,
        heads=heads,
        dtype=encoder.dtype,
        says=f"{says}, class token, mask embeddings",
    )
    return with_init(net, ((r"head_\w+/kernel$", draw_normal),))


def _output_width(size: MvitSize) -> int:
    return size.width * 2 ** len(size.doubles)
