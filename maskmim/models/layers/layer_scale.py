"""LayerScale: learned factors on the residual branches of a pre-norm block."""

from __future__ import annotations

from collections.abc import Callable

from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Mlp, Norm, scaled
from maskmim.types import Array


class LayerScale(nn.Module):
    """A learned factor for each channel of a residual branch (CaiT, arXiv 2103.17239)."""

    initial: float

    @nn.compact
    def __call__(self, branch: Array) -> Array:
        """[B, n, D] -> [B, n, D]."""
        scale = self.param("scale", nn.initializers.constant(self.initial), branch.shape[-1:])
        return branch * scale.astype(branch.dtype)


def scaled_branches(
    block: nn.Module,
    x: Array,
    attention: Callable[[Array], tuple[Array, Array]],
    keep: Array | None,
) -> tuple[Array, dict[str, Array]]:
    """Attention and an MLP with LayerScale, as layers of the block that calls this.

    block:     has the fields hidden, epsilon, dtype, layer_scale and capture.
    attention: normed tokens -> (mixed tokens, attention of the first).
    keep:      f32[B, 2] factors of both branches, None for none.
    Returns as a block does: [B, n, D] -> ([B, n, D], what was captured).
    """
    x = constraints.tokens(x)
    mixed, first = attention(Norm(block.epsilon, block.dtype, name="norm1")(x))
    mixed = LayerScale(block.layer_scale, name="scale1")(mixed)
    x = constraints.tokens(x + scaled(mixed, keep, 0))
    y = Norm(block.epsilon, block.dtype, name="norm2")(x)
    y = Mlp(block.hidden, block.dtype, name="mlp")(y)
    y = LayerScale(block.layer_scale, name="scale2")(y)
    x = constraints.tokens(x + scaled(y, keep, 1))
    found = {"layers": x, "attention": first}
    return x, {name: found[name] for name in block.capture}
