"""The Vision Transformer encoder over visible tokens."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.models.layers import Blocks, Dtype, Norm, xavier
from maskmim.models.posembed import sincos
from maskmim.types import Array, Encoded

small_normal = nn.initializers.normal(0.02)


class Size(NamedTuple):
    """Depth, width, heads and hidden units of a transformer."""

    depth: int
    width: int
    heads: int
    hidden: int


VARIANTS = {
    "nano": Size(2, 32, 2, 128),
    "micro": Size(6, 128, 4, 512),
    "mini": Size(6, 192, 6, 768),
    "Ti": Size(12, 192, 3, 768),
    "S": Size(12, 384, 6, 1536),
    "B": Size(12, 768, 12, 3072),
    "L": Size(24, 1024, 16, 4096),
    "H": Size(32, 1280, 16, 5120),
    "g": Size(40, 1408, 16, 6144),
}


def variant(name: str) -> Size:
    """The size of a named variant; ValueError naming them all for an unknown one."""
    if name not in VARIANTS:
        raise ValueError(f"unknown ViT variant {name!r}: use one of {', '.join(VARIANTS)}")
    return VARIANTS[name]


class Encoder(nn.Module):
    """Patch embedding, positions, prefix tokens, blocks and a last norm.

    grid:      (rows, columns) of tokens. size: depth, width, heads, hidden.
    positions: 'sincos' (fixed) or 'learned'; the prefix tokens have none, as MAE's class token has
               zeros.
    registers: extra prefix tokens behind the class token.
    """

    grid: tuple[int, int]
    size: Size
    class_token: bool
    registers: int
    positions: str
    mask_token: bool
    epsilon: float
    dtype: Dtype
    remat: str
    unroll: int

    @nn.compact
    def __call__(
        self,
        patches: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...] = (),
    ) -> Encoded:
        """f32[B, N, V] patch values, i32[B, K] visible or None, bool[B, N] hidden or None."""
        width = self.size.width
        embed = nn.Dense(width, kernel_init=xavier, dtype=self.dtype, name="embed")
        tokens = embed(patches.astype(self.dtype))
        if self.mask_token:
            filling = self.param("mask_token", small_normal, (1, 1, width)).astype(self.dtype)
            if hidden is not None:
                tokens = jnp.where(hidden[..., None], filling, tokens)
        tokens = tokens + self._positions().astype(self.dtype)
        if visible is not None:
            tokens = jnp.take_along_axis(tokens, visible[..., None], axis=1)
        prefix = self._prefix(tokens.shape[0])
        x = jnp.concatenate([prefix.astype(self.dtype), tokens], axis=1)
        x, found = Blocks(
            self.size.depth,
            self.size.heads,
            self.size.hidden,
            self.epsilon,
            self.dtype,
            self.remat,
            self.unroll,
            name="stack",
        )(x, capture)
        x = Norm(self.epsilon, self.dtype, name="norm")(x)
        count = prefix.shape[1]
        return Encoded(x[:, :count], x[:, count:], found.get("layers"), found.get("attention"))

    def _positions(self) -> Array:
        shape = (self.grid[0] * self.grid[1], self.size.width)
        if self.positions == "learned":
            return self.param("positions", small_normal, shape)
        return jnp.asarray(sincos(self.size.width, self.grid))

    def _prefix(self, examples: int) -> Array:
        width = self.size.width
        parts = [jnp.zeros((1, 0, width), jnp.float32)]
        if self.class_token:
            parts.append(self.param("class_token", small_normal, (1, 1, width)))
        if self.registers:
            parts.append(self.param("registers", small_normal, (1, self.registers, width)))
        prefix = jnp.concatenate(parts, axis=1)
        return jnp.broadcast_to(prefix, (examples, *prefix.shape[1:]))
