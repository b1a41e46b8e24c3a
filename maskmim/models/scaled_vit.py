"""A ViT over visible tokens whose blocks have LayerScale; positions as in `vit.Encoder`."""

from __future__ import annotations

from flax import linen as nn

from maskmim.models import placed
from maskmim.models.attention import Attend
from maskmim.models.drop_path import factors
from maskmim.models.layers import Attention, Dtype, Mlp, Norm, scaled, stacked
from maskmim.models.relative_vit import LayerScale
from maskmim.models.vit import Encoder, ModelError, Size
from maskmim.types import Array, Encoded, Randomness


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
        """[B, n, D], factors f32[B, 2] of both branches -> ([B, n, D], what was captured)."""
        x = placed.tokens(x)
        y = Norm(self.epsilon, self.dtype, name="norm1")(x)
        mixed, first = Attention(self.heads, self.dtype, self.attend, name="attention")(y)
        x = placed.tokens(x + scaled(LayerScale(self.layer_scale, name="scale1")(mixed), keep, 0))
        y = Norm(self.epsilon, self.dtype, name="norm2")(x)
        y = Mlp(self.hidden, self.dtype, name="mlp")(y)
        x = placed.tokens(x + scaled(LayerScale(self.layer_scale, name="scale2")(y), keep, 1))
        found = {"layers": x, "attention": first}
        return x, {name: found[name] for name in self.capture}


class ScaledBlocks(nn.Module):
    """What `layers.Blocks` is, of `ScaledBlock`."""

    size: Size
    epsilon: float
    dtype: Dtype
    attend: Attend
    layer_scale: float
    remat: str
    unroll: int

    @nn.compact
    def __call__(
        self, x: Array, capture: tuple[str, ...] = (), keep: Array | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """As `layers.Blocks`: [B, n, D] -> ([B, n, D], {captured: [depth, B, ...]})."""
        size = self.size
        shape = size.heads, size.hidden, self.epsilon, self.dtype, self.attend, self.layer_scale
        make = stacked(ScaledBlock, depth=size.depth, remat=self.remat, unroll=self.unroll)
        return make(*shape, capture, name="blocks")(x, keep)


class ScaledEncoder(Encoder):
    """`vit.Encoder` whose blocks have LayerScale.

    layer_scale: what the factors of the residual branches start from.
    """

    layer_scale: float = 0.1

    @nn.compact
    def __call__(
        self,
        patches: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...] = (),
        randomness: Randomness | None = None,
    ) -> Encoded:
        """As `vit.Encoder`, which captures 'embedded' too."""
        if set(capture) - {"layers", "attention"}:
            raise ModelError(f"cannot capture {', '.join(capture)}: use layers, attention or none")
        tokens = self._tokens(patches, visible, hidden)
        prefix = self._prefix(tokens.shape[0]).astype(self.dtype)
        fields = self.size, self.epsilon, self.dtype, self.attend, self.layer_scale
        blocks = ScaledBlocks(*fields, self.remat, self.unroll, name="stack")
        keep = factors(randomness, depth=self.size.depth, rate=self.drop_path)
        x, found = blocks(placed.joined(prefix, tokens), capture, keep)
        x = Norm(self.epsilon, self.dtype, name="norm")(x)
        return Encoded(*placed.parted(x, prefix.shape[1]), **found)
