"""Uniformly random masks."""

from __future__ import annotations

import math

import jax

from maskmim.masks.core import from_scores
from maskmim.types import Context, Mask, Randomness


def random(randomness: Randomness, context: Context, *, ratio: float) -> Mask:
    """Hides a uniformly random subset of the tokens of each example.

    ratio: share of hidden tokens, exact after rounding, see `split_counts`.
    Source: MAE (arXiv 2111.06377), section 3 and random_masking of models_mae.py.
    """
    shape = (math.prod(context.grid),)
    keys = randomness.each("mask")
    scores = jax.vmap(lambda key: jax.random.uniform(key, shape))(keys)
    return from_scores(scores, ratio=ratio)
