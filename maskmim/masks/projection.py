"""Masking by projection: tokens are mixed into fewer dimensions, none is dropped (ROPIM).

An operator on the token axis, not a `Mask`: it replaces the patch embeddings x by P x, before
positions are added, and the loss is taken on (I - P)(prediction - target), the removed part.
P = S diag(factors) S', where S sorts tokens into buckets with random signs; P is never formed.

Source: ROPIM (ICLR 2024), section 3, and SketchGenerator of data/data_ropim.py and
train_one_epoch of main_ropim.py, csiro-robotics/ROPIM.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from maskmim.config.ranges import Limits, Positive
from maskmim.masks.core import MaskError
from maskmim.types import Array, Context, Mask, Randomness


class Projection(NamedTuple):
    """Tokens sorted into K buckets of at most k, one draw for each example.

    slots:   i32[B, k, K] the tokens of each bucket; N for an empty slot.
    places:  i32[B, N] the place of each token in the flattened slots.
    signs:   f32[B, N] the factor of a token, 1 or -1; 0 for a token in no bucket.
    factors: f32[B, K] the factor of a bucket; 1 / its number of tokens makes P a projector.
    """

    slots: Array
    places: Array
    signs: Array
    factors: Array


def draw(
    randomness: Randomness,
    context: Context,
    *,
    size: Annotated[int, Limits(2)] = 7,
    factor: Positive | None = None,
) -> Projection:
    """Draw a projection for each example that keeps one dimension in `size`.

    size:   tokens of a bucket. The K = ceil(N / size) buckets differ in size by at most one. Each
            run of K tokens puts one into every bucket, as in the official code. Half of the signs
            are negative.
    factor: of every bucket; None for 1 / its size. Then P is symmetric, P P = P, its rank is K and
            its diagonal is 1 / size of each token's bucket. The mean of P over draws is that
            diagonal, except for -1 / (N - 1) times the chance that two tokens share a bucket, since
            signs are balanced.
    Raises MaskError unless 1 < size <= N.
    Source: create_sketch_mat, one draw for each image.
    Differences: the official code has K = ceil(0.14 N) and the factor 0.14 for 7 tokens per bucket,
    so that its P has eigenvalues 0.98 and is not a projector (sketching_ratio of SketchGenerator);
    it fails where K does not divide N.
    """
    length = _length(context, size)
    return jax.vmap(lambda key: _draw(key, length, size, factor))(randomness.each("mask"))


def draw_shared(
    randomness: Randomness,
    context: Context,
    *,
    size: Annotated[int, Limits(2)] = 7,
    factor: Positive | None = None,
) -> Projection:
    """Draw one projection for the whole batch, repeated for each example; else as `draw`."""
    shared = _draw(randomness.shared("mask"), _length(context, size), size, factor)
    batch = len(randomness.slots)
    return Projection(*(jnp.broadcast_to(part, (batch, *part.shape)) for part in shared))


def of_mask(mask: Mask) -> Projection:
    """Return the projection that sets hidden tokens to zero: one bucket per visible token.

    mask: its visible tokens must be those that are not hidden.
    """
    places = jnp.maximum(jnp.cumsum(~mask.hidden, axis=-1) - 1, 0)
    ones = jnp.ones(mask.visible.shape, jnp.float32)
    return Projection(mask.visible[:, None], places, (~mask.hidden).astype(jnp.float32), ones)


def project(projection: Projection, tokens: Array) -> Array:
    """Return P x, where every token is the signed mean of its bucket: f32[B, N, D].

    A token gets the signed sum of its bucket times the bucket's factor, by gathers without repeated
    places, so that gradients need no atomic additions.
    """
    slots, places, signs, factors = projection
    batch, runs, buckets = slots.shape
    signed = tokens * signs[..., None].astype(tokens.dtype)
    signed = jnp.pad(signed, ((0, 0), (0, 1), (0, 0)))
    parts = jnp.take_along_axis(signed, slots.reshape(batch, -1, 1), axis=1)
    sums = parts.reshape(batch, runs, buckets, -1).sum(1) * factors[..., None].astype(tokens.dtype)
    spread = jnp.broadcast_to(sums[:, None], (batch, runs, *sums.shape[1:]))
    spread = spread.reshape(batch, runs * buckets, -1)
    spread = jnp.take_along_axis(spread, places[..., None], axis=1)
    return spread * signs[..., None].astype(tokens.dtype)


def complement(projection: Projection, tokens: Array) -> Array:
    """Return (I - P) x, the part that `project` removes: f32[B, N, D]."""
    return tokens - project(projection, tokens)


def _length(context: Context, size: int) -> int:
    length = math.prod(context.grid)
    if not 1 < size <= length:
        raise MaskError(f"size {size}: a bucket has from 2 tokens to all {length}")
    return length


def _draw(key: Array, length: int, size: int, factor: float | None) -> Projection:
    buckets = -(-length // size)
    runs = -(-length // buckets)
    for_buckets, for_signs = jax.random.split(key)
    orders = jnp.argsort(jax.random.uniform(for_buckets, (runs, buckets), jnp.float32), axis=-1)
    starts = buckets * jnp.arange(runs)[:, None]
    places = (starts + orders).reshape(-1)[:length].astype(jnp.int32)
    slots = jnp.full((runs * buckets,), length, jnp.int32).at[places].set(jnp.arange(length))
    slots = slots.reshape(runs, buckets)
    order = jnp.argsort(jax.random.uniform(for_signs, (length,), jnp.float32))
    signs = (order % 2 * 2 - 1).astype(jnp.float32)
    filled = jnp.sum(slots < length, axis=0).astype(jnp.float32)
    factors = 1 / filled if factor is None else jnp.full(buckets, factor, jnp.float32)
    return Projection(slots, places, signs, factors)
