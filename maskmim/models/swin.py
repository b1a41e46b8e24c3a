"""Swin Transformers whose masks hide whole tokens of the last stage."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from maskmim.config.ranges import FractionBelowOne, Positive, PositiveInt, Size2D
from maskmim.models.in_place import in_place_net, torch_uniform
from maskmim.models.layers.blocks import Norm
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.drop_path import drop_path_factors
from maskmim.models.layers.encoder import BaseEncoder, Part
from maskmim.models.layers.errors import ModelError, unknown_variant
from maskmim.models.layers.init import draw_normal, small_normal, with_init
from maskmim.models.layers.patches import patchify, unpatchify, upsample_tokens
from maskmim.models.layers.swin_blocks import Grid, Merge, swin_stage, window_side
from maskmim.models.net import token_grid
from maskmim.models.vit import Size, check_size, part_fields
from maskmim.types import Array, Encoded, Net, Randomness, Spec


class SwinSize(NamedTuple):
    """Width of the first stage, doubled at each merge; blocks and heads of each stage."""

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]


VARIANTS = {
    "T": SwinSize(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "S": SwinSize(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "B": SwinSize(128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "L": SwinSize(192, (2, 2, 18, 2), (6, 12, 24, 48)),
}
# Hidden units of the MLPs, in widths.
MLP = 4


def swin_variant(name: str) -> SwinSize:
    """Return the size of a named variant, or of one written as width x depths x heads.

    name: a key of VARIANTS, or '32x2-2-2x1-2-4': blocks and heads of each stage.
    Raises ModelError for any other name, for stages with an odd number of blocks or without a
    number of heads, and where heads do not divide the width.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*(-[1-9]\d*)*){2}", name):
        form = "width x depths x heads such as '96x2-2-6-2x3-6-12-24'"
        raise unknown_variant("Swin", name, VARIANTS, form)
    width, *stages = name.split("x")
    size = SwinSize(int(width), *(tuple(map(int, part.split("-"))) for part in stages))
    if len(size.depths) != len(size.heads) or any(depth % 2 for depth in size.depths):
        raise ModelError(
            f"Swin variant {name!r}: every stage needs an even number of blocks, and its heads"
        )
    for stage, heads in enumerate(size.heads):
        stage_size = Size(size.depths[stage], size.width << stage, heads, MLP)
        check_size(stage_size, f"stage {stage + 1} of the variant {name!r}")
    return size


class SwinEncoder(BaseEncoder, Part):
    """Patch embedding with a norm, mask embeddings, stages of pairs of blocks, a last norm.

    grid:  (rows, columns) of the last stage's tokens, which the mask refers to.
    patch: (height, width) pixels of a token of the first stage.
    Every token enters whatever `visible` says, see `in_place.in_place_net`. Stages differ in the
    number and width of their tokens, so that these are captured, and not blocks.
    """

    captures: ClassVar[tuple[str, ...]] = ("stages",)

    patch: tuple[int, int]
    size: SwinSize
    window: int
    drop_path: float

    def _encode(
        self,
        units: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> Encoded:
        depths, heads = self.size.depths, self.size.heads
        keep = drop_path_factors(randomness, depth=sum(depths), rate=self.drop_path)
        x, grid = self._embed(units, hidden)
        stages = []
        for stage, depth in enumerate(depths):
            first = sum(depths[:stage])
            pairs = None
            if keep is not None:
                pairs = keep[first : first + depth].reshape(depth // 2, 2, *keep.shape[1:])
            width = x.shape[-1]
            shape = (grid, heads[stage], MLP * width, self.window, self.epsilon, self.dtype)
            loop = {"remat": self.remat, "unroll": self.unroll, "name": f"stage{stage}_blocks"}
            x, _ = swin_stage(depth, *shape, **loop)(x, pairs)
            stages.append(x.reshape(len(x), *grid, -1))
            if stage + 1 < len(depths):
                x = Merge(grid, self.epsilon, self.dtype, name=f"merge{stage}")(x)
                grid = grid[0] // 2, grid[1] // 2
        x = Norm(self.epsilon, self.dtype, name="norm")(x)
        return Encoded(x[:, :0], x, stages=tuple(stages) if "stages" in capture else None)

    def _embed(self, units: Array, hidden: Array | None) -> tuple[Array, Grid]:
        """Return the first stage's tokens [B, n, width], hidden as mask embeddings; their grid."""
        times = 2 ** (len(self.size.depths) - 1)
        unit = times * self.patch[0], times * self.patch[1]
        grid = times * self.grid[0], times * self.grid[1]
        width = self.size.width
        patches = patchify(unpatchify(units, unit, self.grid), self.patch)
        embed = Dense(width, kernel_init=torch_uniform, dtype=self.dtype, name="embed")
        x = Norm(self.epsilon, self.dtype, name="embed_norm")(embed(patches.astype(self.dtype)))
        filling = self.param("mask_token", small_normal, (1, 1, width)).astype(self.dtype)
        if hidden is not None:
            fine = upsample_tokens(hidden, self.grid, times).reshape(len(x), -1, 1)
            x = jnp.where(fine, filling, x)
        return x, grid


def swin_in_place(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (4, 4),
    window: PositiveInt = 6,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-5,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a Swin Transformer that sees every token, hidden ones as mask embeddings; linear heads.

    The net's tokens are those of the last stage, 32 x 32 pixels for patches of 4 and four stages;
    the mask, `Encoded.tokens`, heads, targets and losses refer to them. A hidden one covers 8 x 8
    patches, all of which carry the mask embedding in the first stage; a finer mask is not possible.

    variant: a key of VARIANTS, or width x depths x heads, see `swin_variant`.
    patch:   (height, width) pixels of a token of the first stage.
    window:  side of the attention windows in tokens; a stage whose grid is smaller has one window
             as large as its shorter side, and no shift. It must divide the grid of every stage.
    heads:   {name: values per token}; None stands for the pixel values of a token.
    Other keywords are those of `masked_vit.vit_mae`. The network has no class token, and relative
    position biases in every block instead of positions.
    Raises ModelError for sizes that do not divide, names that are unknown, and in `encode` for a
    mask that leaves tokens out.
    Source: Swin (arXiv 2103.14030); models/swin_transformer.py and models/simmim.py,
    microsoft/SimMIM. As in SimMIM, grids are not padded to whole windows. Differences: how heads
    are initialised, see `in_place.LinearHeads`. Swin V2 is not included.
    """
    size = swin_variant(variant)
    times = 2 ** (len(size.depths) - 1)
    unit = times * patch[0], times * patch[1]
    grid = token_grid(spec.size, unit)
    for stage in range(len(size.depths)):
        _check_window((grid[0] * times >> stage, grid[1] * times >> stage), window)
    common = part_fields(grid, norm_eps, compute())
    encoder = SwinEncoder(patch=patch, size=size, window=window, drop_path=drop_path, **common)
    blocks = "-".join(map(str, size.depths))
    says = f"Swin, {blocks} blocks, width {size.width}, windows of {window}, {encoder.dtype}"
    net = in_place_net(
        spec,
        patch=unit,
        width=size.width * times,
        encoder=encoder,
        heads=heads,
        dtype=encoder.dtype,
        says=f"{says}, mask embeddings",
    )
    return with_init(net, ((r"(blocks|merge\d)/.*kernel$", draw_normal),))


def _check_window(grid: Grid, window: int) -> None:
    side = window_side(grid, window)
    if grid[0] % side or grid[1] % side:
        raise ModelError(
            f"windows of {side} do not divide a stage's grid of {grid[0]}x{grid[1]} tokens: change "
            "the window or input.size"
        )
