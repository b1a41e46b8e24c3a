"""A codebook of unit vectors updated by an EMA of the vectors assigned to them, not by gradients.

Its arrays live in `Variables.extra`. `Codebook.count` sums over the examples of a batch, so that
micro-batches and devices change nothing; `Codebook.update` turns the sums of a whole batch into the
next codes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from maskmim.config.ranges import FractionBelowOne, PositiveInt
from maskmim.errors import UserError
from maskmim.quantize.vector_quantize import (
    code_counts,
    code_sums,
    l2_normalise,
    nearest_cosine,
    perplexity,
    used_share,
)
from maskmim.types import Array, Mean, Randomness, Tree

# A code counts as used until its running count has fallen to this share of a single hit.
FORGOTTEN = 0.01


class CodebookError(UserError, ValueError):
    """Sizes or shares that no codebook can have."""


class Codebook(NamedTuple):
    """A codebook as pure functions; K codes of D values, each of length 1.

    size:    K.
    init:    key -> extra.
    codes:   extra -> f32[K, D].
    nearest: (extra, vectors f32[B, N, D]) -> i32[B, N].
    count:   (extra, vectors, codes i32[B, N], randomness) -> carry, sums over the examples.
    update:  (extra, carry of the whole batch) -> extra.
    metrics: extra -> {'perplexity', 'used'} of the codes of recent batches.
    """

    size: int
    init: Callable[[Array], Tree]
    codes: Callable[[Tree], Array]
    nearest: Callable[[Tree, Array], Array]
    count: Callable[[Tree, Array, Array, Randomness], Tree]
    update: Callable[[Tree, Tree], Tree]
    metrics: Callable[[Tree], dict[str, Mean]]


def averaged(
    width: int,
    *,
    size: PositiveInt = 8192,
    decay: FractionBelowOne = 0.99,
    rounds: PositiveInt = 10,
    offered: PositiveInt = 16,
) -> Codebook:
    """Build a codebook whose codes are EMAs of the directions of the vectors nearest to them.

    width:   D. size: K.
    decay:   share of a code that a step keeps: code = l2_normalise(decay * code + (1 - decay) *
             direction of the sum of its vectors). A code without vectors stays where it is.
    rounds:  steps of k-means (decay 0) before the EMA begins; 0 starts from random directions.
    offered: random vectors of each example that initialise the codes of k-means, over as many steps
             as it takes to fill the codebook.

    extra: 'codes' f32[K, D], 'counts' f32[K] (running, with the same decay), and the progress of
    k-means: 'filled' i32[], 'rounds' i32[].
    Raises CodebookError for sizes below 1 and a decay outside [0, 1).
    Source: BEiT v2 (arXiv 2208.06366), norm_ema_quantizer.py of microsoft/unilm, folder beit2; 16
    vectors from each of 512 images make its 8192 codes.
    Differences: the official code starts k-means from random vectors of the first batch and runs
    ten rounds on that batch, on each device separately; the EMA then brings the devices' codebooks
    together. Here the ten rounds see ten batches, since micro-batches never hold a whole batch. The
    official code resets the running counts every epoch and counts a code as used once it was hit.
    """
    check_sizes(width, size=size, decay=decay, rounds=rounds, offered=offered)

    def init(key: Array) -> Tree:
        codes = l2_normalise(jax.random.normal(key, (size, width), jnp.float32))
        filled = jnp.int32(0 if rounds else size)
        counts = jnp.zeros((size,), jnp.float32)
        return {"codes": codes, "counts": counts, "filled": filled, "rounds": jnp.int32(0)}

    def count(extra: Tree, vectors: Array, codes: Array, randomness: Randomness) -> Tree:
        first = offer_vectors(vectors, randomness, count=offered, start=extra["filled"], size=size)
        return {
            "counts": code_counts(codes, size),
            "sums": code_sums(vectors, codes, size),
            "first": first,
            "offered": jnp.int32(vectors.shape[0] * min(offered, vectors.shape[1])),
        }

    def update(extra: Tree, carry: Tree) -> Tree:
        old = extra["codes"]
        direction = _directions(old, carry["sums"])
        filling = extra["filled"] < size
        clustering = ~filling & (extra["rounds"] < rounds)
        average = l2_normalise(decay * old + (1.0 - decay) * direction)
        codes = jnp.where(filling, _directions(old, carry["first"]), average)
        return {
            "codes": jnp.where(clustering, direction, codes),
            "counts": decay * extra["counts"] + (1.0 - decay) * carry["counts"],
            "filled": jnp.minimum(extra["filled"] + carry["offered"], size),
            "rounds": extra["rounds"] + clustering.astype(jnp.int32),
        }

    def metrics(extra: Tree) -> dict[str, Mean]:
        counts, one = extra["counts"], jnp.float32(1.0)
        share = used_share(counts, least=FORGOTTEN * (1.0 - decay))
        return {"perplexity": Mean(perplexity(counts), one), "used": Mean(share, one)}

    return Codebook(size, init, _codes, _nearest, count, update, metrics)


def _codes(extra: Tree) -> Array:
    return extra["codes"]


def _nearest(extra: Tree, vectors: Array) -> Array:
    return nearest_cosine(vectors, extra["codes"])


def check_sizes(
    width: int,
    *,
    size: PositiveInt,
    decay: FractionBelowOne,
    rounds: PositiveInt,
    offered: PositiveInt,
) -> None:
    """Raise CodebookError for sizes and shares that no codebook can have, see `averaged`."""
    if min(width, size, offered) < 1 or rounds < 0 or not 0 <= decay < 1:
        raise CodebookError(
            f"no codebook has {size} codes of {width} values, decay {decay}, {rounds} rounds of "
            f"k-means and {offered} vectors offered per example: sizes and vectors are at least 1, "
            "rounds at least 0, and the decay is from 0 to below 1"
        )


def _directions(old: Array, sums: Array) -> Array:
    """Return the directions of sums f32[K, D], and the old codes where a sum is 0."""
    return jnp.where(jnp.any(sums != 0, axis=-1, keepdims=True), l2_normalise(sums), old)


def offer_vectors(
    vectors: Array, randomness: Randomness, *, count: int, start: Array, size: int
) -> Array:
    """Put `count` random vectors of each example into separate rows from `start` on: f32[size, D].

    The other rows are 0; vectors beyond the last row are dropped.
    """
    tokens = vectors.shape[1]
    count = min(count, tokens)

    def choose(key: Array) -> Array:
        return jax.random.permutation(key, tokens)[:count]

    chosen = jax.vmap(choose)(randomness.each("codebook"))
    offered = jnp.take_along_axis(vectors, chosen[..., None], axis=1).astype(jnp.float32)
    rows = (
        randomness.slots.astype(jnp.int32)[:, None] * count
        + jnp.arange(count, dtype=jnp.int32)[None]
    )
    return jnp.zeros((size, vectors.shape[-1])).at[start + rows].set(offered, mode="drop")
