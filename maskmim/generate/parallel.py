"""Parallel decoding: every unknown token is guessed, the best guesses stay, the rest are repeated.

Pure functions of a function from tokens to logits. Letters in shapes: V codes that can be guessed.
Source: MaskGIT (arXiv 2202.04200), section 3.2, and libml/parallel_decode.py,
google-research/maskgit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from maskmim.errors import UserError
from maskmim.generate.orders import confident
from maskmim.masks.core import ranks
from maskmim.masks.curves import cosine
from maskmim.types import Array, Randomness


class DecodingError(UserError, ValueError):
    """A number of steps that cannot be taken."""


class Noise(NamedTuple):
    """Standard Gumbel noise of one step: f32[B, N, V] of the guesses, f32[B, N] of the order."""

    guesses: Array
    order: Array


class Rules(NamedTuple):
    """How a step decides, see `decode`; begun: i32[B] tokens unknown at the beginning."""

    begun: Array
    mask_id: int
    temperature: float
    curve: Callable[[Array], Array]
    order: Callable[[Array, Array, Array], Array]


def decode(
    logits_of: Callable[[Array], Array],
    ids: Array,
    mask_id: int,
    randomness: Randomness,
    start: int = 0,
    *,
    steps: int = 12,
    temperature: float = 4.5,
    curve: Callable[[Array], Array] = cosine,
    order: Callable[[Array, Array, Array], Array] = confident,
) -> Array:
    """Fills in the tokens that are `mask_id`; the others stay as they are.

    logits_of:   i32[B, N] tokens, unknown ones mask_id -> f32[B, N, V] logits.
    ids:         i32[B, N]. mask_id: stands for an unknown token; not below V.
    randomness:  an example's tokens depend on its slot, not on the rest of the batch.
    start:       steps left out at the beginning, for examples that are partly known.
    steps:       of the whole curve.
    temperature: of the noise in the order before the first step; it falls linearly to 0.
    curve:       brick of `masks.curves`: share of steps done -> share of tokens still unknown.
    order:       brick of `orders`: which guesses stay.

    Returns i32[steps - start, B, N], all tokens as guessed in each step; the last are the result.
    Raises DecodingError unless 0 <= start < steps.
    Differences: noise is an example's own; where worths tie exactly the counted tokens stay
    unknown, officially fewer; log p does not underflow to -inf. The official loop leaves one token
    unknown in its state and returns guesses too.
    """
    if not 0 <= start < steps:
        raise DecodingError(f"start {start} of {steps} steps: from 0 to below the steps")
    begun = jnp.sum(ids == mask_id, axis=-1)
    rules = Rules(begun, mask_id, temperature, curve, order)

    def advance(ids: Array, step: Array) -> tuple[Array, Array]:
        logits = logits_of(ids)
        guess, after = revise(ids, logits, draw(randomness, step, logits.shape), step, steps, rules)
        return after, guess

    return jax.lax.scan(advance, ids, jnp.arange(start, steps))[1]


def draw(randomness: Randomness, step: Array, shape: tuple[int, ...]) -> Noise:
    """The noise of one step for logits of a shape (B, N, V)."""

    def one(key: Array, shape: tuple[int, ...]) -> Array:
        return jax.random.gumbel(jax.random.fold_in(key, step), shape)

    guesses = jax.vmap(lambda key: one(key, shape[1:]))(randomness.each("guesses"))
    return Noise(guesses, jax.vmap(lambda key: one(key, shape[1:2]))(randomness.each("order")))


def revise(
    ids: Array, logits: Array, noise: Noise, step: Array, steps: int, rules: Rules
) -> tuple[Array, Array]:
    """One step: (all tokens as guessed i32[B, N], the same with the worst guesses unknown again).

    Guesses are drawn from the model's distribution, the largest of logits plus Gumbel noise.
    """
    unknown = ids == rules.mask_id
    logits = logits.astype(jnp.float32)
    drawn = jnp.argmax(logits + noise.guesses, axis=-1).astype(ids.dtype)
    guess = jnp.where(unknown, drawn, ids)
    place = (step + 1.0) / steps
    chance = jnp.take_along_axis(jax.nn.log_softmax(logits), guess[..., None], axis=-1)[..., 0]
    worth = rules.order(chance, noise.order, rules.temperature * (1.0 - place))
    worth = jnp.where(unknown, worth, jnp.inf)
    count = still_unknown(rules.begun, jnp.sum(unknown, axis=-1), place, rules.curve)
    again = unknown & (ranks(worth) < count[:, None])
    return guess, jnp.where(again, rules.mask_id, guess)


def still_unknown(begun: Array, left: Array, place: Array, curve: Callable) -> Array:
    """How many tokens of each example stay unknown after a step: i32[B].

    begun, left: i32[B] unknown at the beginning, and before this step. place: f32[] share of steps
    done with this one. The curve's share of `begun`, rounded down; at least one becomes known and
    one stays, so that the next step has work.
    """
    counted = jnp.floor(begun * curve(place)).astype(jnp.int32)
    return jnp.maximum(1, jnp.minimum(left - 1, counted))
