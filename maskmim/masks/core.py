"""The tail that nearly every sampler shares: a score per token, one sort, exact static counts."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.errors import UserError
from maskmim.types import Array, Mask


class MaskError(UserError, ValueError):
    """A mask that cannot be drawn on the grid at hand."""


def whole(examples: int, length: int) -> Mask:
    """Every token seen and predicted, none hidden."""
    tokens = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), (examples, length))
    return Mask(tokens, tokens, jnp.zeros(tokens.shape, bool), jnp.ones(tokens.shape, jnp.float32))


def split_counts(length: int, ratio: float) -> tuple[int, int]:
    """The exact numbers of visible and hidden tokens for a mask ratio.

    `round(ratio * length)` tokens are hidden. `int(length * (1 - ratio))`, the usual form, loses a
    token to floating point for some ratios (0.9 of 10 tokens leaves 0, not 1, visible).

    Raises MaskError unless both numbers are positive.
    """
    hidden = round(ratio * length)
    if not 0 < hidden < length:
        raise MaskError(
            f"mask ratio {ratio} of {length} tokens hides {hidden}: at least one must be "
            "hidden and one visible; change mask.ratio, the patch size or the image size"
        )
    return length - hidden, hidden


def positions(chosen: Array, count: int) -> Array:
    """Ascending indices of the `count` true entries of each row: bool[B, N] -> i32[B, count].

    A running count and a scatter, no sort. Every row must hold exactly `count` true entries.
    """
    length = chosen.shape[-1]
    place = jnp.where(chosen, jnp.cumsum(chosen, axis=-1) - 1, count)
    indices = jnp.arange(length, dtype=jnp.int32)

    def row(place: Array) -> Array:
        return jnp.zeros((count,), jnp.int32).at[place].set(indices, mode="drop")

    return jax.vmap(row)(place)


def keep_strongest(scores: Array, count: int) -> Array:
    """True at the `count` largest scores of each row, the first of equals: f32 -> bool[B, N]."""
    order = jnp.argsort(scores, axis=-1, descending=True, stable=True)[:, :count]
    rows = jnp.arange(scores.shape[0])[:, None]
    return jnp.zeros(scores.shape, bool).at[rows, order].set(True)


def ranks(scores: Array) -> Array:
    """The place of each token in ascending order: f32[B, N] -> i32[B, N].

    Of equal scores the higher index ranks first, as `keep_strongest` drops it first.
    """
    order = jnp.argsort(scores, axis=-1, descending=True, stable=True)
    rows = jnp.arange(scores.shape[0])[:, None]
    places = jnp.arange(scores.shape[-1] - 1, -1, -1, dtype=jnp.int32)
    return jnp.zeros(scores.shape, jnp.int32).at[rows, order].set(places)


def from_scores(scores: Array, *, ratio: float) -> Mask:
    """The mask that keeps the tokens with the largest scores visible, hides and predicts the rest.

    scores: f32[B, N]; which of equal scores is kept first is the lower index.
    Returns a Mask with visible and predict disjoint, their union every token, unit weights.
    Source: the tail of MAE's random_masking (models_mae.py) and of ColorMAE's color_noise_mask
    (masking_generator.py), which keeps the strongest values; indices here are ascending, which
    changes nothing for a transformer whose positions are added before gathering.
    """
    visible, hidden = split_counts(scores.shape[-1], ratio)
    return from_hidden(~keep_strongest(scores, visible), count=hidden)


def from_hidden(hidden: Array, *, count: int) -> Mask:
    """The mask that hides and predicts the true tokens and shows the others.

    hidden: bool[B, N], exactly `count` true in every row.
    Returns a Mask with visible and predict disjoint, their union every token, unit weights.
    """
    predict = positions(hidden, count)
    visible = positions(~hidden, hidden.shape[-1] - count)
    return Mask(visible, predict, hidden, jnp.ones(predict.shape, jnp.float32))
