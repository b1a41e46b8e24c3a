"""Masks that hide the hardest tokens first, more of them as training proceeds."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import Fraction, OpenFraction
from maskmim.masks.core import from_scores, ranks, split_counts
from maskmim.masks.uniform import random_scores
from maskmim.types import Array, Context, Mask, Randomness


def forced_last(noise: Array, difficulty: Array, count: Array) -> Array:
    """Return scores f32[B, N] that rank the `count` most difficult tokens below all others.

    noise: f32[B, N] in [0, 1), the order within the difficult ones and within the others.
    difficulty: f32[B, N]; of equally difficult tokens the lower index is taken first.
    count: i32[], may be traced.
    """
    forced = ranks(difficulty) >= difficulty.shape[-1] - count
    return jnp.where(forced, noise - 1.0, noise)


def forced_count(
    progress: Array | float, hidden: int, *, start: float = 0.0, end: float = 0.5
) -> Array:
    """Return how many of `hidden` tokens are the hardest ones at this progress: i32[].

    The share rises linearly from start to end; the number is rounded down.
    """
    share = start + (end - start) * jnp.asarray(progress, jnp.float32)
    return jnp.floor(hidden * share).astype(jnp.int32)


@facts.scores(needs=("token_loss",))
def hardest_scores(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction = 0.75,
    start: Fraction = 0.0,
    end: Fraction = 0.5,
) -> Array:
    """Draw uniform noise f32[B, N] with the hardest tokens below all others.

    The largest stay visible. Arguments as `hardest`; the number of hardest tokens follows from
    `ratio` and `context.progress`.
    """
    loss = context.hints["token_loss"]
    hidden = split_counts(loss.shape[-1], ratio)[1]
    count = forced_count(context.progress, hidden, start=start, end=end)
    return forced_last(random_scores(randomness, context), loss, count)


@facts.sampler(needs=("token_loss",))
def hardest(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    start: Fraction = 0.0,
    end: Fraction = 0.5,
) -> Mask:
    """Hide the tokens of the highest predicted loss, more of them over training.

    ratio: share of hidden tokens, exact after rounding; 0.75 in HPM.
    start, end: share of the hidden tokens that are the hardest by the hint 'token_loss', at the
    start and at the end of training, in between linear in `context.progress` and rounded down to
    whole tokens; the other hidden tokens are uniformly random.
    Source: HPM (arXiv 2304.05919) and generate_mask of models_mae_learn_loss.py,
    Haochen-Wang409/HPM.
    Differences: the official share 0.5 * (epoch + 1) / epochs rises once an epoch and is one step
    ahead; here it rises with every step, from 0. `round(ratio * N)` tokens are hidden, where the
    official code keeps `int(N * (1 - ratio))`: the same, 49, for 0.75 of 196.
    """
    scores = hardest_scores(randomness, context, ratio=ratio, start=start, end=end)
    return from_scores(scores, ratio=ratio)
