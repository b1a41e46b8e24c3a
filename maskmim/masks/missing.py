"""Masks for data with missing values, which are never shown and never predicted."""

from __future__ import annotations

import math

import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import OpenFraction
from maskmim.masks.core import from_scores, split_counts
from maskmim.masks.uniform import random_scores
from maskmim.types import Array, Context, Mask, Randomness


def counts(grid: tuple[int, ...], *, ratio: OpenFraction) -> tuple[int, int]:
    """Return the numbers of visible and listed tokens; the data decide how many have a weight."""
    return split_counts(math.prod(grid), ratio)


@facts.scores(needs=("missing",))
def observed_first_scores(randomness: Randomness, context: Context) -> Array:
    """Draw uniform noise f32[B, N], missing tokens below observed; the largest stay visible."""
    missing = context.hints["missing"]
    noise = random_scores(randomness, context)
    return jnp.where(missing, noise - 1.0, noise)


@facts.sampler(needs=("missing",), counts=counts)
def observed_first(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide a random subset of the observed tokens, and all missing ones.

    ratio: share of tokens that are hidden, missing ones included, exact after rounding: rows with
    more missing values have fewer tokens to predict.
    Reads the hint 'missing' bool[B, N].

    Returns hidden: every token that is not shown, and every missing one; predict: all tokens that
    are not listed as visible, with weight 0 where missing. A row with fewer observed tokens than
    visible ones is filled up with missing tokens: listed as visible and hidden at once, they carry
    the mask embedding.
    Source: ReMasker (arXiv 2309.13793) and random_masking of model_mae.py, tydusky/remasker, with
    ratio 0.5. Its loss on the shown tokens is a second objective, which no mask can express.
    Differences: `round(ratio * N)` tokens are hidden, where the official code keeps
    `int(N * (1 - ratio))`: 7 against 6 visible ones for 0.5 of 13. The official code fills up with
    missing tokens too, but their zeros enter as if they were data.
    """
    mask = from_scores(observed_first_scores(randomness, context), ratio=ratio)
    missing = context.hints["missing"]
    absent = jnp.take_along_axis(missing, mask.predict, axis=1)
    return mask._replace(hidden=mask.hidden | missing, weight=jnp.where(absent, 0.0, mask.weight))
