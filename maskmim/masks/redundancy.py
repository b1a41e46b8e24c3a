"""Masks by redundancy over time: tokens that differ from what came before are kept."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import OpenFraction, PositiveFraction
from maskmim.masks.core import MaskError, from_scores, keep_strongest, positions, split_counts
from maskmim.masks.slices import named_axes
from maskmim.masks.video import AXES
from maskmim.types import Array, Context, Mask, Randomness


@facts.scores(needs=("features",))
def tokens_scores(randomness: Randomness, context: Context) -> Array:
    """Return each token's change since the time step before: f32[B, N].

    The L2 norm of the difference of the hint 'features' f32[B, N, D]; tokens of the first time step
    take the values of the second. Raises MaskError unless the grid is (time, rows, columns) with at
    least two time steps.
    """
    steps, rows, columns = named_axes(context.grid, AXES)
    if steps < 2:
        raise MaskError("one time step: change over time needs at least two; use uniform.random")
    features = context.hints["features"]
    features = features.reshape(-1, steps, rows * columns, features.shape[-1])
    change = jnp.sqrt((jnp.diff(features, axis=1) ** 2).sum(-1))
    return jnp.concatenate([change[:, :1], change], axis=1).reshape(features.shape[0], -1)


def tokens_counts(
    grid: tuple[int, ...], *, ratio: OpenFraction, predicted: PositiveFraction = 0.2
) -> tuple[int, int]:
    """Return the numbers of visible and predicted tokens of `tokens`; the others are neither."""
    length = math.prod(named_axes(grid, AXES))
    visible, hidden = split_counts(length, ratio)
    count = round(predicted * length)
    if not 0 < count <= hidden:
        raise MaskError(
            f"predicted {predicted} of {length} tokens is {count}, with {hidden} not visible at "
            f"mask ratio {ratio}: predicted must be above 0 and at most the mask ratio"
        )
    return visible, count


@facts.sampler(needs=("features",), axes=(3,), counts=tokens_counts)
def tokens(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    predicted: PositiveFraction = 0.2,
) -> Mask:
    """Hide redundant tokens of a clip for good, show or predict those that changed.

    The tokens with the largest `tokens_scores` are kept: a random part of them is visible and the
    others are predicted. The redundant ones are hidden and not predicted either. With predicted
    equal to ratio every token is kept, and the mask is uniformly random.

    ratio: share of tokens that are not visible; 0.9 is published. predicted: share of tokens that
    are predicted; 0.2 makes the published 0.3 of tokens that are kept.
    Reads the hint 'features' f32[B, N, D], in the source the patch embeddings before positions.
    Raises MaskError as `tokens_scores`, and unless 0 < predicted <= ratio.
    Source: EVEREST (arXiv 2211.10636), section 3.2, and mcm_step of modeling_pretrain.py,
    sunilhoho/EVEREST. Its selection of frames is described but not released.
    Differences: the official code rounds counts down: 156 visible and 314 predicted of 1568 tokens,
    here 157 and 314.
    """
    visible, count = tokens_counts(context.grid, ratio=ratio, predicted=predicted)
    kept = keep_strongest(tokens_scores(randomness, context), visible + count)
    keys = randomness.each("mask")
    noise = jax.vmap(lambda key: jax.random.uniform(key, kept.shape[1:], jnp.float32))(keys)
    shown = keep_strongest(jnp.where(kept, noise, -1.0), visible)
    predict = positions(kept & ~shown, count)
    weight = jnp.ones(predict.shape, jnp.float32)
    return Mask(positions(shown, visible), predict, ~shown, weight)


@facts.scores(needs=("features",))
def segments_scores(randomness: Randomness, context: Context) -> Array:
    """Return minus the cosine of each token of a sequence to the one before: f32[B, N].

    Reads the hint 'features' f32[B, N, D]. The first token has 0, as in the source; since cosines
    of real neighbours are positive, it nearly always has the largest score.
    Raises MaskError unless the grid has one axis.
    """
    named_axes(context.grid, ("time",))
    features = context.hints["features"]
    lengths = jnp.sqrt((features**2).sum(-1, keepdims=True))
    unit = features / jnp.maximum(lengths, 1e-12)
    cosine = (unit[:, 1:] * unit[:, :-1]).sum(-1)
    return jnp.pad(-cosine, ((0, 0), (1, 0)))


@facts.sampler(needs=("features",), axes=(1,))
def segments(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide the segments of a long video that differ least from the one before.

    Nothing is random. ratio: share of hidden segments, exact after rounding; 0.5 is recommended.
    Reads the hint 'features' f32[B, N, D], one embedding for each segment.
    Raises MaskError unless the grid has one axis.
    Source: LV-MAE (arXiv 2504.03501) and models_mae.py, amazon-science/lv-mae; we follow its sort,
    which does the opposite of its comment.
    Differences: padded segments are not supported.
    """
    return from_scores(segments_scores(randomness, context), ratio=ratio)
