"""Parallel decoding: guess all unknown tokens, keep the best guesses, guess the rest again.

Pure functions of a function from tokens to logits. Letters in shapes: V codes.
Source: MaskGIT (arXiv 2202.04200), section 3.2, and libml/parallel_decode.py,
google-research/maskgit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from maskmim.config.ranges import NonNegative, PositiveInt
from maskmim.errors import UserError
from maskmim.generate.orders import confident
from maskmim.masks.core import ranks
from maskmim.masks.curves import cosine
from maskmim.types import Array, Randomness


class DecodingError(UserError, ValueError):
    """A start outside the steps."""


class Noise(NamedTuple):
    """Standard Gumbel noise of one step: f32[B, N, V] of the guesses, f32[B, N] of the order."""

    guesses: Array
    order: Array


class Rules(NamedTuple):
    """How a step decides, see `decode`; unknown_at_start: i32[B] tokens."""

    unknown_at_start: Array
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
    steps: PositiveInt = 12,
    temperature: NonNegative = 4.5,
    curve: Callable[[Array], Array] = cosine,
    order: Callable[[Array, Array, Array], Array] = confident,
) -> Array:
    """Fill in the tokens that are `mask_id`; the others stay as they are.

    logits_of:   i32[B, N] tokens, unknown ones mask_id -> f32[B, N, V] logits.
    ids:         i32[B, N]. mask_id: marks an unknown token; at least V.
    randomness:  an example's tokens depend on its slot, not on the rest of the batch.
    start:       first step, above 0 for examples that are partly known.
    steps:       length of the whole curve.
    temperature: weight of the noise in the order before the first step; it falls linearly to 0.
    curve:       brick of `masks.curves`: share of steps done -> share of tokens still unknown.
    order:       brick of `orders`: which guesses are kept.

    Returns i32[steps - start, B, N], all tokens as guessed in each step; the last are the result.
    Raises DecodingError unless 0 <= start < steps.
    Differences: noise is drawn per example; where scores tie exactly, the scheduled number of
    tokens stays unknown, in the official code fewer; log p does not underflow to -inf. The official
    loop also leaves one token unknown in its state and returns the guesses.
    """
    if not 0 <= start < steps:
        raise DecodingError(
            f"start {start} of {steps} steps does not exist: give a number from 0 to {steps - 1}"
        )
    rules = Rules(jnp.sum(ids == mask_id, axis=-1), mask_id, temperature, curve, order)

    def advance(ids: Array, step: Array) -> tuple[Array, Array]:
        logits = logits_of(ids)
        noise = draw_noise(randomness, step, logits.shape)
        guess, after = decode_step(ids, logits, noise, step, steps, rules)
        return after, guess

    return jax.lax.scan(advance, ids, jnp.arange(start, steps))[1]


def draw_noise(randomness: Randomness, step: Array, shape: tuple[int, ...]) -> Noise:
    """Draw the noise of one step for logits of a shape (B, N, V)."""

    def gumbel(key: Array, shape: tuple[int, ...]) -> Array:
        return jax.random.gumbel(jax.random.fold_in(key, step), shape, jnp.float32)

    guesses = jax.vmap(lambda key: gumbel(key, shape[1:]))(randomness.each("guesses"))
    return Noise(guesses, jax.vmap(lambda key: gumbel(key, shape[1:2]))(randomness.each("order")))


def decode_step(
    ids: Array, logits: Array, noise: Noise, step: Array, steps: int, rules: Rules
) -> tuple[Array, Array]:
    """Guess the unknown tokens and make the worst guesses unknown again.

    Guesses are samples of the model's distribution: the argmax of logits plus Gumbel noise.
    Returns (all tokens as guessed i32[B, N], the same with the worst guesses unknown).
    """
    unknown = ids == rules.mask_id
    logits = logits.astype(jnp.float32)
    sampled = jnp.argmax(logits + noise.guesses, axis=-1).astype(ids.dtype)
    guess = jnp.where(unknown, sampled, ids)
    done = (jnp.asarray(step, jnp.float32) + 1.0) / steps
    log_probabilities = jax.nn.log_softmax(logits)
    log_probability = jnp.take_along_axis(log_probabilities, guess[..., None], axis=-1)[..., 0]
    score = rules.order(log_probability, noise.order, rules.temperature * (1.0 - done))
    score = jnp.where(unknown, score, jnp.inf)
    count = still_unknown(rules.unknown_at_start, jnp.sum(unknown, axis=-1), done, rules.curve)
    worst = unknown & (ranks(score) < count[:, None])
    return guess, jnp.where(worst, rules.mask_id, guess)


def still_unknown(at_start: Array, now: Array, done: Array, curve: Callable) -> Array:
    """Return how many tokens of each example stay unknown after a step: i32[B].

    at_start, now: i32[B] tokens unknown before the first step and before this one.
    done:          f32[] share of steps done, this one included.
    The result is the curve's share of `at_start`, rounded down, but at least one token becomes
    known and one stays unknown, so that the next step has something to guess.
    """
    scheduled = jnp.floor(jnp.asarray(at_start, jnp.float32) * curve(done)).astype(jnp.int32)
    return jnp.maximum(1, jnp.minimum(now - 1, scheduled))
