"""Masks of sequences of different lengths, whose padding is never shown and never predicted."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import OpenFraction
from maskmim.masks.core import from_scores, ranks, split_counts
from maskmim.masks.uniform import random_scores
from maskmim.types import Array, Context, Mask, Randomness

# Keeps exact products of a length and a share from falling below a whole number.
ROUNDING = 1e-3


def counts(
    grid: tuple[int, ...],
    *,
    ratio: OpenFraction,
    scores: Callable[[Randomness, Context], Array] = random_scores,
) -> tuple[int, int]:
    """Return the numbers of listed tokens, those of a full sequence whatever the scores."""
    return split_counts(math.prod(grid), ratio)


@facts.sampler(needs=("padding",), counts=counts)
def shares(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    scores: Callable[[Randomness, Context], Array] = random_scores,
) -> Mask:
    """Keep a share of the tokens of each sequence that are no padding, and hide the others.

    ratio:  share of hidden tokens; of a sequence of L tokens int(L * (1 - ratio)) stay visible.
    scores: brick (randomness, context) -> f32[B, N]; of the tokens that are no padding those with
            the largest scores stay visible, such as `uniform.random_scores` (any) or
            `redundancy.segments_scores` (those that differ most from the one before), whose hints
            must be given too.
    Reads the hint 'padding' bool[B, N].

    Returns visible: as many as of a full sequence; a shorter one is filled up with padding, listed
    as visible and hidden at once, for encoders that leave such tokens out. hidden: all tokens that
    are not shown, and all padding. predict: all that are not listed as visible, with weight 0 where
    they are padding. Where the share of a full sequence is no whole number, one token more may
    be shown.
    Source: random_masking and importance_masking of data/CombinedData.py, amazon-science/lv-mae.
    """
    padding = context.hints["padding"]
    length = jnp.sum(~padding, axis=1, keepdims=True).astype(jnp.float32)
    kept = jnp.floor(length * (1.0 - ratio) + ROUNDING).astype(jnp.int32)
    drawn = jnp.where(padding, -jnp.inf, scores(randomness, context))
    from_best = padding.shape[1] - 1 - ranks(drawn)
    shown = ~padding & (from_best < kept)
    mask = from_scores(jnp.where(shown, 2.0, jnp.where(padding, 1.0, 0.0)), ratio=ratio)
    absent = jnp.take_along_axis(padding, mask.predict, axis=1)
    return mask._replace(hidden=mask.hidden | padding, weight=jnp.where(absent, 0.0, mask.weight))
