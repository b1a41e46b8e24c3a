"""CLIP's vision transformer: a norm before the first block, quick GELU, no bias of patches."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.models.layers.attention import Attend
from maskmim.models.layers.blocks import (
    CAPTURES,
    ROWS,
    Attention,
    Dtype,
    Norm,
    recorded,
    scan_blocks,
    xavier,
)
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.encoder import BaseEncoder
from maskmim.models.layers.init import small_normal
from maskmim.models.layers.patches import gather
from maskmim.models.vit import Size
from maskmim.types import Array, Encoded, Randomness


def quick_gelu(x: Array) -> Array:
    """Return x * sigmoid(1.702 x), an approximation of GELU (arXiv 1606.08415)."""
    return x * jax.nn.sigmoid(1.702 * x)


class QuickMlp(nn.Module):
    """Two dense layers with a quick GELU between them."""

    hidden: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, n, D] -> [B, n, D]."""
        up = Dense(self.hidden, kernel_init=xavier, dtype=self.dtype, name="up")
        down = Dense(x.shape[-1], kernel_init=xavier, dtype=self.dtype, name="down")
        return down(quick_gelu(up(x)))


class ClipBlock(nn.Module):
    """A pre-norm transformer block whose MLP has a quick GELU."""

    heads: int
    hidden: int
    epsilon: float
    dtype: Dtype
    attend: Attend
    capture: tuple[str, ...]

    @nn.compact
    def __call__(self, x: Array, unused: None) -> tuple[Array, dict[str, Array]]:
        """Map [B, n, D] -> ([B, n, D], captures as of `blocks.Block`)."""
        y = Norm(self.epsilon, self.dtype, name="norm1")(x)
        attend, rows = recorded(self.attend)
        mixed, first = Attention(self.heads, self.dtype, attend, name="attention")(y)
        x = x + mixed
        y = Norm(self.epsilon, self.dtype, name="norm2")(x)
        x = x + QuickMlp(self.hidden, self.dtype, name="mlp")(y)
        captures = {"layers": x, "attention": first, **rows}
        return x, {name: captures[name] for name in self.capture}


class ClipEncoder(BaseEncoder):
    """Patch embedding, class token, learned positions, a norm, blocks and a last norm.

    No token carries a mask embedding, as there is none.
    Source: CLIP (arXiv 2103.00020), clip/model.py of openai/CLIP. Difference: the last norm is
    applied to every token, in the official code to the class token alone.
    """

    captures: ClassVar[tuple[str, ...]] = (*CAPTURES, *ROWS)

    grid: tuple[int, int]
    size: Size
    epsilon: float
    dtype: Dtype
    attend: Attend

    def _encode(
        self,
        patches: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> Encoded:
        width, length = self.size.width, self.grid[0] * self.grid[1]
        embed = Dense(width, use_bias=False, kernel_init=xavier, dtype=self.dtype, name="embed")
        first = self.param("class_token", small_normal, (1, 1, width))
        positions = self.param("positions", small_normal, (length, width)).astype(self.dtype)
        x = embed(patches.astype(self.dtype)) + positions.reshape(1, length, width)
        x = x if visible is None else gather(x, visible)
        first = jnp.broadcast_to(first.astype(self.dtype), (len(x), 1, width))
        x = Norm(self.epsilon, self.dtype, name="first_norm")(jnp.concatenate([first, x], axis=1))
        make = scan_blocks(ClipBlock, depth=self.size.depth, remat="none", unroll=False)
        shape = self.size.heads, self.size.hidden, self.epsilon, self.dtype, self.attend
        x, captured = make(*shape, capture, name="blocks")(x, None)
        x = Norm(self.epsilon, self.dtype, name="norm")(x)
        return Encoded(x[:, :1], x[:, 1:], **captured)
