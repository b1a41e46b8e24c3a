"""Masks from a model's own attention, which hide what a few random queries attend to most (SMA).

Source: SMA (ICLR 2024), section 3, and RandomlySelectedCrossAttentionMasking of
src/transformers/models/sma/transforms_sma.py, Johnathan-Xie/sma, its branch of fixed length.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import Fraction, OpenFraction, Positive, PositiveFraction
from maskmim.masks.core import MaskError, from_scores, split_counts
from maskmim.types import Array, Context, Mask, Randomness


@facts.sampler(needs=("token_attention",))
def attended(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    per_query: Positive = 8.0,
    initial: PositiveFraction = 1.0,
    until: Fraction = 0.25,
) -> Mask:
    """Hide the tokens that random queries attend to most, random ones at first.

    ratio: share of hidden tokens, exact after rounding. Other keywords: `attended_scores`.
    Source: see the module.
    """
    scores = attended_scores(
        randomness, context, ratio=ratio, per_query=per_query, initial=initial, until=until
    )
    return from_scores(scores, ratio=ratio)


@facts.scores(needs=("token_attention",))
def attended_scores(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    per_query: Positive = 8.0,
    initial: PositiveFraction = 1.0,
    until: Fraction = 0.25,
) -> Array:
    """Draw the scores f32[B, N] that `attended` ranks; the largest stay visible.

    Reads the hint 'token_attention' f32[B, Q, N], attention after its softmax and averaged over
    heads, without gradient.
    ratio:     share of hidden tokens, which gives the numbers of queries and of candidates.
    per_query: hidden tokens for each drawn query: round(N * ratio / per_query) queries, at least
               one and at most Q. The default is ours: the published one (576, for pictures of
               many pixels) draws no query for short sequences.
    initial:   share of tokens, the most attended first, that are candidates for hiding at progress
               0; 1 gives a random mask. It falls to ratio along half a cosine.
    until:     progress at which it reaches ratio, 0.25 in the published HIGGS run; with 0 it is
               ratio from the start.
    Raises MaskError for initial outside [ratio, 1], until outside [0, 1], per_query not above 0.
    Differences: the official code scales its schedule by optimizer steps, the same up to one step.
    Its other branch (`varying_length`) hides a different number of tokens in each example.
    """
    attention = context.hints["token_attention"]
    queries, length = attention.shape[1:]
    split_counts(length, ratio)
    if per_query <= 0 or not ratio <= initial <= 1 or not 0 <= until <= 1:
        raise MaskError(
            f"per_query {per_query}, initial {initial}, until {until}: per_query must be above 0, "
            f"initial from the mask ratio {ratio} to 1, until from 0 to 1"
        )
    query_count = min(max(round(length * ratio / per_query), 1), queries)
    width = candidate_count(context.progress, length, ratio=ratio, initial=initial, until=until)

    def score(key: Array, attention: Array) -> Array:
        for_queries, for_tokens = jax.random.split(key)
        chosen = jnp.argsort(jax.random.uniform(for_queries, (queries,), jnp.float32)) < query_count
        noise = jax.random.uniform(for_tokens, (length,), jnp.float32)
        return window_scores(attention, chosen, noise, width)

    return jax.vmap(score)(randomness.each("mask"), attention)


def window_scores(attention: Array, chosen: Array, noise: Array, width: Array | int) -> Array:
    """Return noise for the `width` tokens that chosen queries attend to most, else more than 1.

    One example: attention f32[Q, N], chosen bool[Q], noise f32[N] in [0, 1), width i32[]. Returns
    f32[N]; among the other tokens the most attended have the smallest scores; of equally attended
    tokens the first counts as attended more.
    """
    total = jnp.where(chosen[:, None], attention, 0.0).sum(0)
    order = jnp.argsort(total, descending=True, stable=True)
    rank = jnp.argsort(order)
    return jnp.where(rank < width, noise, 1.0 + rank.astype(jnp.float32))


def candidate_count(
    progress: Array | float, length: int, *, ratio: float, initial: float = 1.0, until: float = 0.25
) -> Array:
    """Return how many of the most attended tokens are candidates for hiding: i32[].

    round(ratio * length) at the end. Arguments as `attended_scores`.
    Source: round(N (r + (r0 - r) s)) of the same file, s from cosine_scheduler of modeling_sma.py.
    """
    _, hidden = split_counts(length, ratio)
    if until == 0:
        return jnp.int32(hidden)
    done = jnp.clip(jnp.asarray(progress, jnp.float32) / until, 0.0, 1.0)
    scale = 0.5 * (1 + jnp.cos(jnp.pi * done))
    width = jnp.round(length * (ratio + (initial - ratio) * scale)).astype(jnp.int32)
    return jnp.maximum(width, hidden)
