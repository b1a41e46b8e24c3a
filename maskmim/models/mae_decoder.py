"""MAE's decoder: self-attention over visible and mask tokens, heads on predicted tokens."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.models.attention import Attend
from maskmim.models.layers import Blocks, Dtype, Norm, xavier
from maskmim.models.patches import gather
from maskmim.models.posembed import sincos
from maskmim.models.vit import Size, small_normal
from maskmim.types import Array, Encoded, Mask


class Decoder(nn.Module):
    """A narrow transformer over the whole grid.

    heads: {name: values}; a head is a dense layer on the predicted tokens alone.
    The prefix tokens are kept through the blocks and dropped before the heads, positions are fixed.
    Source: MAE (arXiv 2111.06377), forward_decoder of models_mae.py. It computes its head on every
    token; here it is computed where it is used, which gives the same numbers there.
    """

    grid: tuple[int, int]
    size: Size
    heads: Mapping[str, int]
    epsilon: float
    dtype: Dtype
    attend: Attend
    remat: str
    unroll: int

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Encoded and its mask -> {head: f32[B, P, values]}."""
        width = self.size.width
        embed = nn.Dense(width, kernel_init=xavier, dtype=self.dtype, name="embed")
        prefix, seen = embed(encoded.prefix), embed(encoded.tokens)
        filling = self.param("mask_token", small_normal, (1, 1, width)).astype(self.dtype)
        length = self.grid[0] * self.grid[1]
        tokens = jnp.broadcast_to(filling, (seen.shape[0], length, width))
        tokens = jax.vmap(scatter)(tokens, mask.visible, seen)
        tokens = tokens + jnp.asarray(sincos(width, self.grid), self.dtype)
        x = jnp.concatenate([prefix, tokens], axis=1)
        x, _ = Blocks(
            self.size.depth,
            self.size.heads,
            self.size.hidden,
            self.epsilon,
            self.dtype,
            self.attend,
            self.remat,
            self.unroll,
            name="stack",
        )(x)
        x = gather(x[:, prefix.shape[1] :], mask.predict)
        x = Norm(self.epsilon, self.dtype, name="norm")(x)
        return {
            name: nn.Dense(values, kernel_init=xavier, dtype=self.dtype, name=f"head_{name}")(
                x
            ).astype(jnp.float32)
            for name, values in self.heads.items()
        }


def scatter(tokens: Array, places: Array, values: Array) -> Array:
    """[N, D] with values [K, D] set at ascending places i32[K]."""
    at = tokens.at[places]
    return at.set(values, indices_are_sorted=True, unique_indices=True, mode="promise_in_bounds")
