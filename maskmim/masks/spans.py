"""Masks of spans in a sequence: of random lengths (SpanBERT), of one length (wav2vec 2.0).

On a grid of several axes spans run along the tokens in raster order, from the end of a row to the
next.

Both draw a random order of starts and hide span after span until the number is reached. The score
of a token is the moment at which it would be hidden if that continued, so that the exact number
costs one sort: the last span is cut at its end, as SpanBERT does.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from maskmim.config.ranges import OpenFraction, PositiveFraction, PositiveInt
from maskmim.masks.core import MaskError, from_scores
from maskmim.types import Array, Context, Mask, Randomness


def geometric(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    p: PositiveFraction = 0.2,
    longest: PositiveInt = 10,
) -> Mask:
    """Hide spans of geometric lengths, each from a token that is not hidden yet.

    ratio: share of hidden tokens, exact after rounding. p, longest: see `geometric_scores`.
    Works on a grid of one to three axes. Raises MaskError for an invalid p or longest.
    Source and differences: see `geometric_scores`.
    """
    return from_scores(geometric_scores(randomness, context, p=p, longest=longest), ratio=ratio)


def geometric_scores(
    randomness: Randomness,
    context: Context,
    *,
    p: PositiveFraction = 0.2,
    longest: PositiveInt = 10,
) -> Array:
    """Draw the moment at which spans of geometric lengths reach each token: f32[B, N].

    The tokens reached last stay visible.
    p: chance that a span ends after each of its tokens, in (0, 1). longest: largest length; longer
    ones are drawn again. The mean length is 3.8 by default. A span may run into tokens that are
    hidden already; the end of the sequence cuts it.

    Source: SpanBERT (arXiv 1907.10529, section 3.1); PairWithSpanMaskingScheme of
    pretraining/fairseq/data/masking.py, facebookresearch/SpanBERT.
    Differences: lengths count tokens, not words. `round(ratio * N)` tokens are hidden, not
    `ceil(ratio * N)`. The paper says that lengths are clipped, but its mean length of 3.8 and its
    code agree with redrawing.
    """
    if not 0 < p < 1 or longest < 1:
        raise MaskError(f"p {p}, longest {longest}: p must lie between 0 and 1, longest above 0")
    length = context.length

    def row(key: Array) -> Array:
        for_order, for_length = jax.random.split(key)
        order = _random_order(for_order, length)
        uniform = jax.random.uniform(for_length, (length,), jnp.float32)
        lengths = span_lengths(uniform, p=p, longest=longest)
        return hiding_moments(order, lengths, longest=longest)

    return jax.vmap(row)(randomness.each("mask")).astype(jnp.float32)


def span_lengths(uniform: Array, *, p: float, longest: int) -> Array:
    """Turn uniform numbers in [0, 1) into geometric lengths up to `longest`: f32 -> i32."""
    below = 1 - (1 - p) ** longest
    length = 1 + jnp.floor(jnp.log1p(-uniform * below) / math.log1p(-p))
    return jnp.minimum(length.astype(jnp.int32), longest)


def hiding_moments(order: Array, lengths: Array, *, longest: int) -> Array:
    """Return the moment at which each token is hidden, from given draws; nothing is random.

    order: i32[N] the turn of each token to start a span; a token hidden before its turn starts
    none. lengths: i32[N] of the span that each would start, at most `longest`. Returns i32[N] with
    distinct values, ascending from token to token within a span.

    Whether a token starts a span depends only on tokens before it with an earlier turn. So the
    answers are found by fixed-point iteration: each round makes those of at least one more turn
    right, and a few rounds suffice, since a span reaches no further than `longest`.
    """
    offsets = jnp.arange(1, longest)[:, None]

    def before(values: Array, fill: int) -> Array:
        """Return the values of the tokens before each, the nearest first: [longest - 1, N]."""
        padded = jnp.pad(values, (longest - 1, 0), constant_values=fill)
        return padded[jnp.arange(longest - 1, longest - 1 + len(values))[None] - offsets]

    earlier = before(order, len(order))
    reaches = before(lengths, 0) > offsets

    def next_round(state: tuple[Array, Array]) -> tuple[Array, Array]:
        starts, _ = state
        free = ~(reaches & (earlier < order[None]) & before(starts, False)).any(0)
        return free, (free != starts).any()

    every = jnp.ones(order.shape, bool)
    starts, _ = jax.lax.while_loop(lambda state: state[1], next_round, (every, jnp.bool_(True)))
    never = len(order) * longest
    moments = jnp.where(reaches & before(starts, False), earlier * longest + offsets, never)
    return jnp.where(starts, order * longest, moments.min(0, initial=never))


def fixed(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    length: PositiveInt = 10,
) -> Mask:
    """Hide spans of one length that may overlap, starts drawn without replacement.

    ratio: share of hidden tokens, exact after rounding. length: see `fixed_scores`.
    Works on a grid of one to three axes. Raises MaskError for a length below 1.
    Source and differences: see `fixed_scores`.
    """
    return from_scores(fixed_scores(randomness, context, length=length), ratio=ratio)


def fixed_scores(randomness: Randomness, context: Context, *, length: PositiveInt = 10) -> Array:
    """Draw the moment at which spans of one length reach each token: f32[B, N].

    The tokens reached last stay visible.
    length: tokens of a span, 1 or more, cut to the length of the sequence.

    Source: wav2vec 2.0 (arXiv 2006.11477, section 3.1); compute_mask_indices of
    fairseq/data/data_utils.py, facebookresearch/fairseq, with static lengths.
    Differences: the official code hides a given number of spans (0.65 N / 10 by default, rounded up
    or down at random), and the number of hidden tokens varies with their overlap, about 0.49 N; it
    shows tokens again at random down to the smallest number of the batch. Here spans are added
    until the number is reached and the last is cut. In both, spans lie within the sequence, so that
    its first and last tokens are hidden less often; the official code leaves out the last start, so
    that it never hides the last token.
    """
    if length < 1:
        raise MaskError(f"length {length}: a span has at least one token")
    count = context.length
    span = min(length, count)

    def row(key: Array) -> Array:
        return fixed_hiding_moments(_random_order(key, count - span + 1), length=span)

    return jax.vmap(row)(randomness.each("mask")).astype(jnp.float32)


def fixed_hiding_moments(order: Array, *, length: int) -> Array:
    """Return the moment at which each token is hidden, from given draws; nothing is random.

    order: i32[S] the turn of each span by the token it starts at. Returns i32[S + length - 1] with
    distinct values, ascending from token to token within a span.
    """
    # One turn weighs more than the distance of two starts within reach of each other.
    first = order * length - jnp.arange(len(order))
    never = jnp.iinfo(jnp.int32).max
    pad = (length - 1, length - 1)
    least = jax.lax.reduce_window(first, never, jax.lax.min, (length,), (1,), [pad])
    return least + jnp.arange(len(least))


def _random_order(key: Array, count: int) -> Array:
    return jnp.argsort(jax.random.bits(key, (count,), jnp.uint32))
