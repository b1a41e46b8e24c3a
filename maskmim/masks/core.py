"""The last steps of nearly every sampler: one sort of the scores, exact static counts."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from maskmim.errors import UserError
from maskmim.types import Array, Mask


class MaskError(UserError, ValueError):
    """A mask that cannot be drawn on the given grid."""


def nothing_hidden(examples: int, length: int) -> Mask:
    """Return the mask that hides nothing: every token is visible and predicted."""
    tokens = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), (examples, length))
    return Mask(tokens, tokens, jnp.zeros(tokens.shape, bool), jnp.ones(tokens.shape, jnp.float32))


def split_counts(length: int, ratio: float) -> tuple[int, int]:
    """Return the exact numbers of visible and hidden tokens for a mask ratio.

    `round(ratio * length)` tokens are hidden. The usual `int(length * (1 - ratio))` loses a visible
    token to floating point for some ratios (0.9 of 10 tokens leaves 0 visible, not 1).

    Raises MaskError unless both numbers are positive.
    """
    check_finite(ratio)
    hidden = round(ratio * length)
    if not 0 < hidden < length:
        raise MaskError(
            f"mask ratio {ratio} of {length} tokens hides {hidden}: at least one must be "
            "hidden and one visible; change the ratio, the patch size or the image size"
        )
    return length - hidden, hidden


def check_finite(ratio: float) -> None:
    """Raise MaskError for nan and inf, of which no number of tokens can be made."""
    if not math.isfinite(ratio):
        raise MaskError(
            f"mask ratio {ratio}: at least one token must be hidden and one visible; use a ratio "
            "between 0 and 1"
        )


def positions(chosen: Array, count: int) -> Array:
    """Return the ascending indices of each row's true entries: bool[B, N] -> i32[B, count].

    Every row must hold exactly `count` true entries. A cumulative sum and a scatter, no sort.
    """
    length = chosen.shape[-1]
    place = jnp.where(chosen, jnp.cumsum(chosen, axis=-1) - 1, count)
    indices = jnp.arange(length, dtype=jnp.int32)

    def row(place: Array) -> Array:
        return jnp.zeros((count,), jnp.int32).at[place].set(indices, mode="drop")

    return jax.vmap(row)(place)


def keep_strongest(scores: Array, count: int) -> Array:
    """Mark the `count` largest scores of each row, the first of equals: f32 -> bool[B, N]."""
    order = jnp.argsort(scores, axis=-1, descending=True, stable=True)[:, :count]
    rows = jnp.arange(scores.shape[0])[:, None]
    return jnp.zeros(scores.shape, bool).at[rows, order].set(True)


def ranks(scores: Array) -> Array:
    """Return the place of each token in ascending order: f32[B, N] -> i32[B, N].

    Of equal scores the higher index ranks first, as `keep_strongest` drops it first.
    """
    order = jnp.argsort(scores, axis=-1, descending=True, stable=True)
    rows = jnp.arange(scores.shape[0])[:, None]
    places = jnp.arange(scores.shape[-1] - 1, -1, -1, dtype=jnp.int32)
    return jnp.zeros(scores.shape, jnp.int32).at[rows, order].set(places)


def from_scores(scores: Array, *, ratio: float) -> Mask:
    """Keep the tokens with the largest scores visible, hide and predict the others.

    scores: f32[B, N]; of equal scores the lower index is kept first.
    Returns a Mask whose visible and predict are disjoint and together every token, weights 1.
    Source: the end of MAE's random_masking (models_mae.py) and of ColorMAE's color_noise_mask
    (masking_generator.py), which keeps the strongest values.
    Differences: indices are ascending, which changes nothing for a transformer that adds positions
    before gathering.
    """
    visible, hidden = split_counts(scores.shape[-1], ratio)
    return from_hidden(~keep_strongest(scores, visible), count=hidden)


def from_hidden(hidden: Array, *, count: int) -> Mask:
    """Hide and predict the true tokens, keep the others visible.

    hidden: bool[B, N], exactly `count` true in every row.
    Returns a Mask whose visible and predict are disjoint and together every token, weights 1.
    """
    predict = positions(hidden, count)
    visible = positions(~hidden, hidden.shape[-1] - count)
    return Mask(visible, predict, hidden, jnp.ones(predict.shape, jnp.float32))
