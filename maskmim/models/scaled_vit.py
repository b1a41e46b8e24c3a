"""A ViT over visible tokens whose blocks have LayerScale; positions as in `vit.Encoder`."""

from __future__ import annotations

from typing import ClassVar

from flax import linen as nn

from maskmim.models.layers.attention import Attend
from maskmim.models.layers.blocks import Attention, Dtype, scan_blocks
from maskmim.models.layers.encoder import UniformEncoder
from maskmim.models.layers.layer_scale import apply_scaled_branches
from maskmim.models.vit import Encoder, Size, Stack
from maskmim.types import Array


class ScaledBlock(nn.Module):
    """A pre-norm block with LayerScale on both branches."""

    heads: int
    hidden: int
    epsilon: float
    dtype: Dtype
    attend: Attend
    layer_scale: float
    capture: tuple[str, ...] = ()

    @nn.compact
    def __call__(self, x: Array, keep: Array | None) -> tuple[Array, dict[str, Array]]:
        """Map [B, n, D] -> ([B, n, D], captures); keep: f32[B, 2] factors of both branches."""
        attention = Attention(self.heads, self.dtype, self.attend, name="attention")
        return apply_scaled_branches(self, x, attention, keep)


class ScaledBlocks(nn.Module):
    """As `layers.blocks.Blocks`, made of `ScaledBlock`."""

    size: Size
    epsilon: float
    dtype: Dtype
    attend: Attend
    layer_scale: float
    remat: str
    unroll: bool

    @nn.compact
    def __call__(
        self, x: Array, capture: tuple[str, ...] = (), keep: Array | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Map [B, n, D] -> ([B, n, D], {capture: [depth, B, ...]}), as `layers.blocks.Blocks`."""
        size = self.size
        shape = size.heads, size.hidden, self.epsilon, self.dtype, self.attend, self.layer_scale
        make = scan_blocks(ScaledBlock, depth=size.depth, remat=self.remat, unroll=self.unroll)
        return make(*shape, capture, name="blocks")(x, keep)


class ScaledEncoder(Encoder):
    """`vit.Encoder` whose blocks have LayerScale.

    layer_scale: initial factor of the residual branches.
    """

    captures: ClassVar[tuple[str, ...]] = UniformEncoder.captures

    layer_scale: float = 0.1

    def _blocks(self) -> nn.Module:
        return make_scaled_blocks(self)


def make_scaled_blocks(part: Stack) -> ScaledBlocks:
    """Return the blocks of the part that calls this, which has a layer_scale."""
    fields = part.epsilon, part.dtype, part.attend, part.layer_scale, part.remat, part.unroll
    return ScaledBlocks(part.size, *fields, name="stack")
