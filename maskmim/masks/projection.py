"""Masking by projection: tokens are mixed into fewer dimensions, none is dropped (ROPIM).

An operator on the token axis, not a `Mask`: it replaces the patch embeddings x by P x, before
positions are added, and the loss is taken on (I - P)(prediction - target), the part removed.
P = S diag(1 / size) S', where S sorts tokens into buckets with random signs; it is never formed.

Source: ROPIM (ICLR 2024), section 3, and SketchGenerator of data/data_ropim.py and
train_one_epoch of main_ropim.py, csiro-robotics/ROPIM.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from maskmim.masks.core import MaskError
from maskmim.types import Array, Context, Mask, Randomness


class Projection(NamedTuple):
    """Tokens sorted into K buckets of at most k, one draw for each example.

    slots:  i32[B, k, K] the tokens of each bucket; N where there is none.
    places: i32[B, N] where in the flattened slots each token is.
    signs:  f32[B, N] the factor of a token, 1 or -1; 0 for a token in no bucket.
    """

    slots: Array
    places: Array
    signs: Array


def draw(randomness: Randomness, context: Context, *, size: int = 7) -> Projection:
    """A projection for each example that keeps one dimension in `size`.

    size: tokens of a bucket. There are ceil(N / size) buckets; where `size` does not divide N,
    their sizes differ by at most one. Each run of K tokens puts one into every bucket, as in the
    official code. Half of the signs are negative. P is symmetric, P P = P, its rank is K and its
    diagonal 1 / size of each token's bucket. The mean of P over draws is that diagonal, but for
    -1 / (N - 1) times the chance that two tokens meet, since signs are balanced.
    Raises MaskError unless 1 < size <= N.
    Source: create_sketch_mat, one draw for each image.
    Differences: the official code has K = ceil(0.14 N) and the factor 0.14 where 1 / size belongs,
    so its P has eigenvalues 0.98 for 7 tokens a bucket; `sketched` does that. It stops where K does
    not divide N.
    """
    length = _length(context, size)
    return jax.vmap(lambda key: _draw(key, length, size))(randomness.each("mask"))


def draw_shared(randomness: Randomness, context: Context, *, size: int = 7) -> Projection:
    """As `draw`, but one projection for the whole batch; returned for each example all the same."""
    one = _draw(randomness.shared("mask"), _length(context, size), size)
    batch = len(randomness.slots)
    return Projection(*(jnp.broadcast_to(part, (batch, *part.shape)) for part in one))


def of_mask(mask: Mask) -> Projection:
    """The projection that sets hidden tokens to zero: a bucket for each visible token alone.

    mask: any whose visible tokens are those not hidden.
    """
    places = jnp.maximum(jnp.cumsum(~mask.hidden, axis=-1) - 1, 0)
    return Projection(mask.visible[:, None], places, (~mask.hidden).astype(jnp.float32))


def project(projection: Projection, tokens: Array) -> Array:
    """P x: every token becomes the signed mean of its bucket, f32[B, N, D] -> f32[B, N, D]."""
    filled = (projection.slots < tokens.shape[1]).sum(1)
    return _mix(projection, tokens, 1 / filled)


def complement(projection: Projection, tokens: Array) -> Array:
    """(I - P) x, what `project` removes: f32[B, N, D] -> f32[B, N, D]."""
    return tokens - project(projection, tokens)


def sketched(projection: Projection, tokens: Array, *, factor: float = 0.14) -> Array:
    """The official P x, with S S' scaled by one factor: f32[B, N, D] -> f32[B, N, D].

    It equals `project` where factor = 1 / size; otherwise it is no projection.
    Source: sketching_ratio of SketchGenerator.
    """
    return _mix(projection, tokens, jnp.full(projection.slots[:, 0].shape, factor))


def _length(context: Context, size: int) -> int:
    length = math.prod(context.grid)
    if not 1 < size <= length:
        raise MaskError(f"{size} tokens in a bucket: between 2 and all {length} of them")
    return length


def _draw(key: Array, length: int, size: int) -> Projection:
    buckets = -(-length // size)
    runs = -(-length // buckets)
    for_buckets, for_signs = jax.random.split(key)
    orders = jnp.argsort(jax.random.uniform(for_buckets, (runs, buckets)), axis=-1)
    starts = buckets * jnp.arange(runs)[:, None]
    places = (starts + orders).reshape(-1)[:length].astype(jnp.int32)
    slots = jnp.full((runs * buckets,), length, jnp.int32).at[places].set(jnp.arange(length))
    signs = jnp.argsort(jax.random.uniform(for_signs, (length,))) % 2 * 2.0 - 1
    return Projection(slots.reshape(runs, buckets), places, signs)


def _mix(projection: Projection, tokens: Array, factors: Array) -> Array:
    """Signed sums of buckets times factors f32[B, K], handed back to their tokens.

    Gathers without repeated places, so that gradients need no atomic additions.
    """
    slots, places, signs = projection
    batch, runs, buckets = slots.shape
    signed = tokens * signs[..., None]
    signed = jnp.pad(signed, ((0, 0), (0, 1), (0, 0)))
    parts = jnp.take_along_axis(signed, slots.reshape(batch, -1, 1), axis=1)
    sums = parts.reshape(batch, runs, buckets, -1).sum(1) * factors[..., None]
    spread = jnp.broadcast_to(sums[:, None], (batch, runs, *sums.shape[1:]))
    spread = spread.reshape(batch, runs * buckets, -1)
    return jnp.take_along_axis(spread, places[..., None], axis=1) * signs[..., None]
