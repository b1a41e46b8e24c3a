"""Groups of similar tokens, found by rounds of bipartite matching as ToMe does, and their means."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.types import Array

EXACT = jax.lax.Precision.HIGHEST


def merge_groups(tokens: Array, removed: Array, rounds: Array, *, most: int) -> Array:
    """Return the group of each token after rounds that merge similar tokens: i32[B, N].

    tokens:  [B, N, D], compared by the cosines of their groups' means.
    removed: i32[] tokens that each round merges into others, at most half of those left.
    rounds:  i32[] number of rounds, at most `most`, which is the number that is computed.

    Tokens at even places are matched with tokens at odd ones: each with the most similar, and the
    `removed` most similar pairs merge, all of an odd token's pairs with it. Those at even places
    that are left come first in the next round, then those at odd places. The token at place 0 never
    merges into another. Groups are numbered from 0 without gaps, in the order of their places; the
    first of them thus holds token 0. No gradient passes. Computed in float32.
    Source: ToMe (arXiv 2210.09461), bipartite_soft_matching of facebookresearch/ToMe with
    class_token=True, as DTM (arXiv 2401.00254) uses it: bm/merge.py of naver-ai/dtm. Difference: a
    group's mean is taken of its tokens anew in each round, officially of the means before.
    """
    tokens = jax.lax.stop_gradient(tokens).astype(jnp.float32)
    examples, length, _ = tokens.shape
    places = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), (examples, length))

    def merge(number: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        places, left = state
        count = jnp.where(number < rounds, jnp.minimum(removed, (left - 1) // 2), 0)
        moved = _next_places(_means(tokens, places), left, count)
        merged = jnp.take_along_axis(moved, places, axis=1)
        return jnp.where(count > 0, merged, places), left - count

    return jax.lax.fori_loop(0, most, merge, (places, jnp.int32(length)))[0]


def group_means(values: Array, groups: Array) -> Array:
    """Return the mean of each token's group in place of the token: f32[B, N, V].

    values: [B, N, V]; groups: i32[B, N], tokens with the same number are a group. Gradients pass.
    """
    same = (groups[:, :, None] == groups[:, None, :]).astype(jnp.float32)
    shares = same / jnp.sum(same, axis=-1, keepdims=True)
    return jnp.einsum("bnm,bmv->bnv", shares, values.astype(jnp.float32), precision=EXACT)


def _means(tokens: Array, places: Array) -> Array:
    """Return the mean of the tokens at each place f32[B, N, D], 0 at places without any."""
    at_place = jax.nn.one_hot(places, places.shape[1], dtype=jnp.float32)
    sums = jnp.einsum("bnp,bnd->bpd", at_place, tokens, precision=EXACT)
    return sums / jnp.maximum(jnp.sum(at_place, axis=1), 1.0)[..., None]


def _next_places(means: Array, left: Array, count: Array) -> Array:
    """Return the place to which each place goes when `count` of the first `left` merge: i32[B, N].

    Beyond the first `left` places results mean nothing.
    """
    units = means / jnp.maximum(jnp.linalg.norm(means, axis=-1, keepdims=True), 1e-12)
    scores = jnp.einsum("bed,bod->beo", units[:, ::2], units[:, 1::2], precision=EXACT)
    even, odd = jnp.arange(scores.shape[1]), jnp.arange(scores.shape[2])
    scores = jnp.where(2 * odd + 1 < left, scores, -jnp.inf)
    partners = jnp.argmax(scores, axis=-1)
    may_merge = (even > 0) & (2 * even < left)
    best = jnp.where(may_merge, jnp.max(scores, axis=-1), -jnp.inf)
    ranks = jnp.argsort(jnp.argsort(-best, axis=-1), axis=-1)
    merges = ranks < count
    first_odd = (left + 1) // 2 - count
    kept = jnp.cumsum(~merges, axis=-1) - 1
    moved = jnp.zeros(means.shape[:2], jnp.int32)
    moved = moved.at[:, ::2].set(jnp.where(merges, first_odd + partners, kept).astype(jnp.int32))
    return moved.at[:, 1::2].set((first_odd + odd).astype(jnp.int32))
