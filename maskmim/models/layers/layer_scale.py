"""LayerScale: learned factors on the residual branches of a pre-norm block."""

from __future__ import annotations

from collections.abc import Callable

from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Mlp, Norm, scale_branch
from maskmim.types import Array


class LayerScale(nn.Module):
    """A learned factor for each channel of a residual branch (CaiT, arXiv 2103.17239)."""

    initial: float

    @nn.compact
    def __call__(self, branch: Array) -> Array:
        """Scale [B, n, D] -> [B, n, D]."""
        scale = self.param("scale", nn.initializers.constant(self.initial), branch.shape[-1:])
        return branch * scale.astype(branch.dtype)[None, None]


def apply_scaled_branches(
    block: nn.Module,
    x: Array,
    attention: Callable[[Array], tuple[Array, Array]],
    keep: Array | None,
) -> tuple[Array, dict[str, Array]]:
    """Apply attention and an MLP with LayerScale, as layers of the calling block.

    block:     has the fields hidden, epsilon, dtype, layer_scale and capture.
    attention: normed tokens -> (mixed tokens, attention of the first).
    keep:      f32[B, 2] factors of both branches, or None.
    Returns as a block does: [B, n, D] -> ([B, n, D], captures).
    """
    x = constraints.constrain_tokens(x)
    mixed, first = attention(Norm(block.epsilon, block.dtype, name="norm1")(x))
    mixed = LayerScale(block.layer_scale, name="scale1")(mixed)
    x = constraints.constrain_tokens(x + scale_branch(mixed, keep, 0))
    y = Norm(block.epsilon, block.dtype, name="norm2")(x)
    y = Mlp(block.hidden, block.dtype, name="mlp")(y)
    y = LayerScale(block.layer_scale, name="scale2")(y)
    x = constraints.constrain_tokens(x + scale_branch(y, keep, 1))
    captures = {"layers": x, "attention": first}
    return x, {name: captures[name] for name in block.capture}
