"""A codebook of unit vectors that follow the vectors they stand for, by averages, not gradients.

Its arrays live in `Variables.extra`. What a batch adds are sums over its examples, so that
micro-batches and devices change nothing (`Codebook.count`); `Codebook.update` turns the sums of a
whole batch into the next codes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from maskmim.errors import UserError
from maskmim.quantize.vector_quantize import (
    code_counts,
    code_sums,
    nearest_cosine,
    perplexity,
    unit,
    used,
)
from maskmim.types import Array, Mean, Randomness, Tree

# A code counts as used until its running count has fallen to this share of a single hit.
FORGOTTEN = 0.01


class CodebookError(UserError, ValueError):
    """Sizes or shares of a codebook that cannot be."""


class Codebook(NamedTuple):
    """Codes as a value; K codes of D values, each of length 1.

    size:    K.
    init:    key -> extra.
    codes:   extra -> f32[K, D].
    nearest: (extra, vectors f32[B, N, D]) -> i32[B, N].
    count:   (extra, vectors, found i32[B, N], randomness) -> carry, sums over the examples.
    update:  (extra, carry of the whole batch) -> extra.
    metrics: extra -> {'perplexity', 'used'} of the codes lately, see `quantise`.
    """

    size: int
    init: Callable[[Array], Tree]
    codes: Callable[[Tree], Array]
    nearest: Callable[[Tree, Array], Array]
    count: Callable[[Tree, Array, Array, Randomness], Tree]
    update: Callable[[Tree, Tree], Tree]
    metrics: Callable[[Tree], dict[str, Mean]]


def averaged(
    width: int, *, size: int = 8192, decay: float = 0.99, rounds: int = 10, offered: int = 16
) -> Codebook:
    """Codes that are moving averages of the directions of the vectors they are nearest to.

    width:   D. size: K.
    decay:   share of a code that a step keeps: code = unit(decay * code + (1 - decay) * direction
             of the sum of its vectors). A code that no vector is nearest to stays where it is.
    rounds:  steps of k-means (decay 0) before the average begins; 0 for random directions.
    offered: vectors that each example offers as first codes of k-means, at random; as many steps
             as it takes to fill the codebook.

    extra: 'codes' f32[K, D], 'counts' f32[K] (running, with the same decay), and how far k-means
    is: 'filled' i32[], 'rounds' i32[].
    Raises CodebookError for sizes below 1 and a decay outside [0, 1).
    Source: BEiT v2 (arXiv 2208.06366), norm_ema_quantizer.py of microsoft/unilm, folder beit2; 16
    offers of each of 512 images are its 8192 codes.
    Differences: there k-means starts from random vectors of the first batch and runs ten times on
    it, on each device apart, whose codebooks draw near each other afterwards; here its ten rounds
    see ten batches, as a batch in parts is never seen at once. Its running counts are reset every
    epoch, and it counts a code as used that has been hit since.
    """
    if min(width, size, offered) < 1 or rounds < 0 or not 0 <= decay < 1:
        raise CodebookError(
            f"a codebook of {size} codes of {width} values, decay {decay}, {rounds} rounds of "
            f"k-means from {offered} vectors of each example cannot be"
        )

    def init(key: Array) -> Tree:
        codes = unit(jax.random.normal(key, (size, width)))
        filled = jnp.int32(0 if rounds else size)
        counts = jnp.zeros((size,), jnp.float32)
        return {"codes": codes, "counts": counts, "filled": filled, "rounds": jnp.int32(0)}

    def count(extra: Tree, vectors: Array, found: Array, randomness: Randomness) -> Tree:
        first = offers(vectors, randomness, count=offered, start=extra["filled"], size=size)
        return {
            "counts": code_counts(found, size),
            "sums": code_sums(vectors, found, size),
            "first": first,
            "offered": jnp.int32(vectors.shape[0] * min(offered, vectors.shape[1])),
        }

    def update(extra: Tree, carry: Tree) -> Tree:
        old = extra["codes"]
        direction = moved(old, carry["sums"])
        filling = extra["filled"] < size
        clustering = ~filling & (extra["rounds"] < rounds)
        average = unit(decay * old + (1.0 - decay) * direction)
        codes = jnp.where(filling, moved(old, carry["first"]), average)
        return {
            "codes": jnp.where(clustering, direction, codes),
            "counts": decay * extra["counts"] + (1.0 - decay) * carry["counts"],
            "filled": jnp.minimum(extra["filled"] + carry["offered"], size),
            "rounds": extra["rounds"] + clustering.astype(jnp.int32),
        }

    def metrics(extra: Tree) -> dict[str, Mean]:
        counts, one = extra["counts"], jnp.float32(1.0)
        share = used(counts, least=FORGOTTEN * (1.0 - decay))
        return {"perplexity": Mean(perplexity(counts), one), "used": Mean(share, one)}

    def nearest(extra: Tree, vectors: Array) -> Array:
        return nearest_cosine(vectors, extra["codes"])

    return Codebook(size, init, lambda extra: extra["codes"], nearest, count, update, metrics)


def moved(old: Array, sums: Array) -> Array:
    """The directions of sums f32[K, D], and the old codes where nothing was summed."""
    return jnp.where(jnp.any(sums != 0, axis=-1, keepdims=True), unit(sums), old)


def offers(vectors: Array, randomness: Randomness, *, count: int, start: Array, size: int) -> Array:
    """Random vectors of each example, at rows of their own behind `start`: f32[size, D].

    Rows that nobody fills are 0; vectors beyond the last row are left out.
    """
    tokens = vectors.shape[1]
    count = min(count, tokens)

    def chosen(key: Array) -> Array:
        return jax.random.permutation(key, tokens)[:count]

    places = jax.vmap(chosen)(randomness.each("codebook"))
    taken = jnp.take_along_axis(vectors, places[..., None], axis=1).astype(jnp.float32)
    own = randomness.slots.astype(jnp.int32)[:, None] * count + jnp.arange(count)
    return jnp.zeros((size, vectors.shape[-1])).at[start + own].set(taken, mode="drop")
