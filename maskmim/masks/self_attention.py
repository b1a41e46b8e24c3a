"""Masks from a model's own attention: what a few random queries attend to most is hidden (SMA).

Source: SMA (ICLR 2024), section 3, and RandomlySelectedCrossAttentionMasking of
src/transformers/models/sma/transforms_sma.py, Johnathan-Xie/sma, its branch of fixed length.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.masks.core import MaskError, from_scores, split_counts
from maskmim.types import Array, Context, Mask, Randomness


def attended(
    randomness: Randomness,
    context: Context,
    *,
    ratio: float,
    per_query: float = 8.0,
    initial: float = 1.0,
    until: float = 0.25,
) -> Mask:
    """Hides the tokens that a random subset of queries attends to most, after a random beginning.

    ratio: share of hidden tokens, exact after rounding. Other keywords: `attended_scores`.
    Source: see the module.
    """
    scores = attended_scores(
        randomness, context, ratio=ratio, per_query=per_query, initial=initial, until=until
    )
    return from_scores(scores, ratio=ratio)


attended.needs = ("token_attention",)


def attended_scores(
    randomness: Randomness,
    context: Context,
    *,
    ratio: float,
    per_query: float = 8.0,
    initial: float = 1.0,
    until: float = 0.25,
) -> Array:
    """Scores f32[B, N] of `attended`; the largest stay visible.

    Reads the hint 'token_attention' f32[B, Q, N], attention after its softmax and averaged over
    heads, taken without gradient.
    ratio:     share of hidden tokens: it sets how many queries are drawn and how many tokens may be
               hidden.
    per_query: hidden tokens for each query drawn; round(N * ratio / per_query) queries, at least
               one and at most Q. The default is ours: the published one (576, for pictures of
               many pixels) draws no query at all for short sequences.
    initial:   share of the tokens, the most attended first, that hiding chooses from at progress
               0; 1 is a random mask. It shrinks to ratio along half a cosine.
    until:     progress at which it has shrunk, 0.25 in the published HIGGS run; 0 for no warm-in.
    Raises MaskError for initial outside [ratio, 1], until outside [0, 1], per_query not above 0.
    Differences: the official code scales its schedule by optimizer steps, the same up to one step.
    Its other branch (`varying_length`) hides another number of tokens for each example.
    """
    attention = context.hints["token_attention"]
    queries, length = attention.shape[1:]
    split_counts(length, ratio)
    if per_query <= 0 or not ratio <= initial <= 1 or not 0 <= until <= 1:
        raise MaskError(
            f"per_query {per_query}, initial {initial}, until {until}: per_query must be above 0, "
            f"initial from the mask ratio {ratio} to 1, until from 0 to 1"
        )
    drawn = min(max(round(length * ratio / per_query), 1), queries)
    width = candidates(context.progress, length, ratio=ratio, initial=initial, until=until)

    def score(key: Array, attention: Array) -> Array:
        for_queries, for_tokens = jax.random.split(key)
        chosen = jnp.argsort(jax.random.uniform(for_queries, (queries,))) < drawn
        noise = jax.random.uniform(for_tokens, (length,))
        return window_scores(attention, chosen, noise, width)

    return jax.vmap(score)(randomness.each("mask"), attention)


def window_scores(attention: Array, chosen: Array, noise: Array, width: Array | int) -> Array:
    """Noise for the `width` tokens that chosen queries attend to most, more than 1 for the others.

    One example: attention f32[Q, N], chosen bool[Q], noise f32[N] in [0, 1), width i32[]. Returns
    f32[N]; among the others the most attended have the smallest scores; of equals the first token
    counts as attended more.
    """
    total = jnp.where(chosen[:, None], attention, 0.0).sum(0)
    order = jnp.argsort(total, descending=True, stable=True)
    rank = jnp.argsort(order)
    return jnp.where(rank < width, noise, 1.0 + rank)


def candidates(
    progress: Array | float, length: int, *, ratio: float, initial: float = 1.0, until: float = 0.25
) -> Array:
    """How many of the most attended tokens hiding chooses from: i32[], round(ratio * length) at
    the end.

    Arguments as `attended_scores`.
    Source: round(N (r + (r0 - r) s)) of the same file, s from cosine_scheduler of modeling_sma.py.
    """
    _, hidden = split_counts(length, ratio)
    if until == 0:
        return jnp.int32(hidden)
    done = jnp.clip(jnp.asarray(progress, jnp.float32) / until, 0.0, 1.0)
    scale = 0.5 * (1 + jnp.cos(jnp.pi * done))
    width = jnp.round(length * (ratio + (initial - ratio) * scale)).astype(jnp.int32)
    return jnp.maximum(width, hidden)
