"""Uniformly random masks."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config.ranges import OpenFraction
from maskmim.masks.core import from_scores
from maskmim.types import Array, Context, Mask, Randomness


def random(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide a uniformly random subset of the tokens of each example.

    ratio: share of hidden tokens, exact after rounding, see `split_counts`.
    With several streams the subset is drawn from all their tokens together, as SatMAE does.
    Source: MAE (arXiv 2111.06377), section 3 and random_masking of models_mae.py.
    """
    return from_scores(random_scores(randomness, context), ratio=ratio)


def random_scores(randomness: Randomness, context: Context) -> Array:
    """Draw uniform noise in [0, 1): f32[B, N]; the largest stay visible."""
    shape = (context.length,)
    return jax.vmap(lambda key: jax.random.uniform(key, shape, jnp.float32))(
        randomness.each("mask")
    )
