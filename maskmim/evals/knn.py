"""k nearest neighbours: what an encoder knows without any training on top of it."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from maskmim.evals.features import Features, Unsuitable
from maskmim.types import Array


def knn(
    features: Features,
    *,
    k: int = 20,
    temperature: float = 0.07,
    query_chunk: int = 256,
    bank_chunk: int = 16_384,
) -> Iterator[tuple[str, float]]:
    """Top-1 accuracy of the weighted cosine kNN classifier, exact, for each label set.

    k:           neighbours that vote; the bank is the training split.
    temperature: T of the votes exp(cosine / T).
    query_chunk, bank_chunk: images compared at a time; they bound memory and change no result.
    Yields ('knn/<label set>/top1', share of correct test images in [0, 1]).
    Raises Unsuitable where there are fewer than k training images (k is not lowered silently), no
    test image or no label set.
    Source: DINO (arXiv 2104.14294, eval_knn.py), after Wu et al. (arXiv 1805.01978). Equal: L2
    normalisation, votes, T = 0.07 and k = 20, which they found best. Different: votes are scaled
    by the nearest neighbour's, which changes no winner and cannot underflow.
    """
    bank, queries = features.train.features, features.test.features
    if not features.classes:
        raise Unsuitable("kNN needs labels, these images have none: name a labelled set in evals")
    if not 0 < k <= len(bank):
        raise Unsuitable(
            f"kNN with k = {k} needs as many training images, there are {len(bank)}: set "
            f"evals.knn.k between 1 and {len(bank)}"
        )
    if not len(queries):
        raise Unsuitable("kNN needs at least one test image: evals.test is empty")
    cosines, places = neighbours(
        bank, queries, k=k, query_chunk=query_chunk, bank_chunk=min(bank_chunk, len(bank))
    )
    for name, names in features.classes.items():
        voted = vote(
            cosines,
            places,
            features.train.labels[name],
            temperature=temperature,
            classes=len(names),
            chunk=query_chunk,
        )
        right = int((voted == jnp.asarray(features.test.labels[name])).sum())
        yield f"knn/{name}/top1", right / len(queries)


knn.needs_labels = True


@functools.partial(jax.jit, static_argnames=("k", "query_chunk", "bank_chunk"))
def neighbours(
    bank: Array, queries: Array, *, k: int, query_chunk: int, bank_chunk: int
) -> tuple[Array, Array]:
    """The k nearest of the bank for each query, by cosine: f32[n, D], f32[m, D] -> f32, i32[m, k].

    Returns cosines, descending, and places in the bank; of equal cosines the first place comes
    first. The bank passes in chunks under a running top-k, so memory is query_chunk * bank_chunk
    and never m * n. Matrix products keep full f32 precision on every device. k <= n is assumed.
    """
    length, width = bank.shape
    chunks = -(-length // bank_chunk)
    padded = jnp.pad(_unit(bank), ((0, chunks * bank_chunk - length), (0, 0)))
    blocks = padded.reshape(chunks, bank_chunk, width)
    starts = jnp.arange(chunks, dtype=jnp.int32) * bank_chunk
    within = jnp.arange(bank_chunk, dtype=jnp.int32)

    def nearest(query: Array) -> tuple[Array, Array]:
        def merge(best, block_start):
            block, start = block_start
            cosine = jnp.matmul(block, query, precision=jax.lax.Precision.HIGHEST)
            place = start + within
            cosine = jnp.where(place < length, cosine, -jnp.inf)
            both = jnp.concatenate([best[0], cosine])
            top, chosen = jax.lax.top_k(both, k)
            return (top, jnp.concatenate([best[1], place])[chosen]), None

        none = (jnp.full((k,), -jnp.inf), jnp.zeros((k,), jnp.int32))
        return jax.lax.scan(merge, none, (blocks, starts))[0]

    return jax.lax.map(nearest, _unit(queries), batch_size=query_chunk)


@functools.partial(jax.jit, static_argnames=("classes", "chunk"))
def vote(
    cosines: Array, places: Array, labels: Array, *, temperature: float, classes: int, chunk: int
) -> Array:
    """The class with most votes: f32[m, k], i32[m, k], labels i32[n] of the bank -> i32[m].

    Each neighbour votes for its label with exp(cosine / temperature); of equal classes the first
    wins.
    """
    labels = jnp.asarray(labels)

    def winner(row: tuple[Array, Array]) -> Array:
        cosine, place = row
        weight = jnp.exp((cosine - cosine.max()) / temperature)
        chosen = labels[place][:, None] == jnp.arange(classes)
        return jnp.where(chosen, weight[:, None], 0.0).sum(axis=0).argmax().astype(jnp.int32)

    return jax.lax.map(winner, (cosines, places), batch_size=chunk)


def _unit(rows: Array) -> Array:
    """Rows of length 1; a row of zeros stays one."""
    rows = jnp.asarray(rows, jnp.float32)
    return rows / jnp.maximum(jnp.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
