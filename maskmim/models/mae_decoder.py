"""MAE's decoder: self-attention over visible and mask tokens, heads on predicted tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Norm, xavier
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.heads import dense_heads
from maskmim.models.layers.init import small_normal
from maskmim.models.layers.posembed import fixed_positions
from maskmim.models.vit import Stack, make_blocks
from maskmim.types import Array, Encoded, Mask


class Decoder(Stack):
    """A narrow transformer over the whole grid.

    heads:     {name: values}; a head is a dense layer on the predicted tokens alone.
    positions: a fixed table, see `posembed.fixed_positions`.
    The prefix tokens pass through the blocks and are dropped before the heads.
    Source: MAE (arXiv 2111.06377), forward_decoder of models_mae.py. Difference: the official code
    computes its head on every token, this one on the predicted tokens, with the same numbers there.
    """

    heads: Mapping[str, int]
    positions: str = "sincos"

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {head: f32[B, P, values]} from the encoded tokens and their mask."""
        prefix, tokens = self._fill(encoded, mask)
        table = fixed_positions(self.positions, self.size.width, self.grid)
        x = constraints.concat_tokens(prefix, tokens + jnp.asarray(table, self.dtype)[None])
        x = decode_predicted(self, x, prefix.shape[1], mask)
        return dense_heads(self.heads, x, self.dtype)

    def _fill(self, encoded: Encoded, mask: Mask) -> tuple[Array, Array]:
        return fill_grid(self, encoded, mask)


def decode_predicted(decoder: Stack, x: Array, prefix: int, mask: Mask, name: str = "") -> Array:
    """Return the predicted tokens [B, P, W] after blocks and last norm of the calling decoder.

    x:      [B, prefix + N, W] what enters the blocks.
    prefix: number of prefix tokens.
    name:   begins the names of the blocks and of the norm.
    """
    x, _ = make_blocks(decoder, f"{name}stack")(x)
    _, x = constraints.split_tokens(x, prefix)
    x = constraints.select_tokens(x, mask.predict)
    return Norm(decoder.epsilon, decoder.dtype, name=f"{name}norm")(x)


def fill_grid(
    decoder: nn.Module, encoded: Encoded, mask: Mask, absent: Array | None = None
) -> tuple[Array, Array]:
    """Return the prefix [B, R, W] and the tokens of the whole grid [B, N, W], without positions.

    The calling decoder's layer 'embed' takes what the encoder saw to its width W; its 'mask_token'
    fills all other places, and those of the visible tokens in absent bool[B, K].
    """
    width = decoder.size.width
    embed = Dense(width, kernel_init=xavier, dtype=decoder.dtype, name="embed")
    prefix = embed(constraints.constrain_examples(encoded.prefix))
    seen = constraints.embed_tokens(embed, encoded.tokens)
    filling = decoder.param("mask_token", small_normal, (1, 1, width)).astype(decoder.dtype)
    if absent is not None:
        seen = jnp.where(absent[..., None], filling, seen)
    return prefix, scatter_tokens(filling, seen, mask.visible, math.prod(decoder.grid))


def scatter_tokens(filling: Array, seen: Array, visible: Array, length: int) -> Array:
    """Return [B, length, W] with tokens [B, K, W] at their places i32[B, K], filling elsewhere."""
    blank = jnp.broadcast_to(filling, (seen.shape[0], length, seen.shape[-1]))
    return jax.vmap(_scatter_example)(blank, visible, seen)


def _scatter_example(tokens: Array, places: Array, values: Array) -> Array:
    at = tokens.at[places]
    return at.set(values, indices_are_sorted=True, unique_indices=True, mode="promise_in_bounds")
