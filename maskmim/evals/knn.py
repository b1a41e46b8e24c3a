"""k nearest neighbours: the accuracy of features without a trained classifier."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import Positive, PositiveInt
from maskmim.evals.features import Features, Unsuitable
from maskmim.types import Array


@facts.probe(needs_labels=True)
def knn(
    features: Features,
    *,
    k: PositiveInt = 20,
    temperature: Positive = 0.07,
    query_chunk: PositiveInt = 256,
    bank_chunk: PositiveInt = 16_384,
) -> Iterator[tuple[str, float]]:
    """Yield the top-1 accuracy of the weighted cosine kNN classifier, exact, for each label set.

    k:           neighbours that vote; the bank is the training split.
    temperature: T of the votes exp(cosine / T).
    query_chunk, bank_chunk: images compared at a time; they bound memory and change no result.
    Yields ('knn/<label set>/top1', share of correct test images in [0, 1]).
    Raises Unsuitable for fewer than k training images (k is not lowered silently), no test image or
    no label set.
    Source: DINO (arXiv 2104.14294, eval_knn.py), after Wu et al. (arXiv 1805.01978), with its L2
    normalisation, votes, T = 0.07 and k = 20, which its authors found best. Difference: votes are
    scaled by the nearest neighbour's, which changes no winner and cannot underflow.
    """
    bank, queries = features.train.features, features.test.features
    if not features.classes:
        raise Unsuitable(
            "kNN needs labels, these images have none: name a labelled set in evals.train and "
            "evals.test"
        )
    if not 0 < k <= len(bank):
        raise Unsuitable(
            f"kNN with k = {k} needs at least {k} training images, this set has {len(bank)}: set "
            f"evals.probes.knn.k between 1 and {len(bank)}"
        )
    if not len(queries):
        raise Unsuitable(
            "kNN needs at least one test image: name a set that is not empty in evals.test"
        )
    cosines, indices = neighbours(
        bank, queries, k=k, query_chunk=query_chunk, bank_chunk=min(bank_chunk, len(bank))
    )
    for name, names in features.classes.items():
        voted = vote(
            cosines,
            indices,
            features.train.labels[name],
            temperature=temperature,
            classes=len(names),
            chunk=query_chunk,
        )
        correct = int((voted == jnp.asarray(features.test.labels[name])).sum())
        yield f"knn/{name}/top1", correct / len(queries)


@functools.partial(jax.jit, static_argnames=("k", "query_chunk", "bank_chunk"))
def neighbours(
    bank: Array, queries: Array, *, k: int, query_chunk: int, bank_chunk: int
) -> tuple[Array, Array]:
    """Find the k nearest of the bank for each query: f32[n, D], f32[m, D] -> f32, i32[m, k].

    Returns cosines, descending, and indices into the bank; of equal cosines the lower index comes
    first. Scans the bank in chunks with a running top-k, so memory is query_chunk * bank_chunk and
    never m * n. Matrix products keep full f32 precision on every device. Assumes k <= n.
    """
    length, width = bank.shape
    chunks = -(-length // bank_chunk)
    padded = jnp.pad(_normalise_rows(bank), ((0, chunks * bank_chunk - length), (0, 0)))
    blocks = padded.reshape(chunks, bank_chunk, width)
    starts = jnp.arange(chunks, dtype=jnp.int32) * bank_chunk
    within = jnp.arange(bank_chunk, dtype=jnp.int32)

    def nearest(query: Array) -> tuple[Array, Array]:
        def merge(best, block_start):
            block, start = block_start
            cosine = jnp.matmul(block, query, precision=jax.lax.Precision.HIGHEST)
            index = start + within
            cosine = jnp.where(index < length, cosine, -jnp.inf)
            both = jnp.concatenate([best[0], cosine])
            top, chosen = jax.lax.top_k(both, k)
            return (top, jnp.concatenate([best[1], index])[chosen]), None

        empty = (jnp.full((k,), -jnp.inf), jnp.zeros((k,), jnp.int32))
        return jax.lax.scan(merge, empty, (blocks, starts))[0]

    return jax.lax.map(nearest, _normalise_rows(queries), batch_size=query_chunk)


@functools.partial(jax.jit, static_argnames=("classes", "chunk"))
def vote(
    cosines: Array, indices: Array, labels: Array, *, temperature: float, classes: int, chunk: int
) -> Array:
    """Return the class with most votes: f32[m, k], i32[m, k], labels i32[n] of the bank -> i32[m].

    Each neighbour votes for its label with exp(cosine / temperature); of equal classes the lower
    index wins.
    """

    def winner(row: tuple[Array, Array]) -> Array:
        return _count(row, labels, temperature, classes).argmax().astype(jnp.int32)

    return jax.lax.map(winner, (cosines, indices), batch_size=chunk)


@functools.partial(jax.jit, static_argnames=("classes", "chunk"))
def votes(
    cosines: Array, indices: Array, labels: Array, *, temperature: float, classes: int, chunk: int
) -> Array:
    """Return the votes that `vote` counts, scaled by the nearest neighbour's: f32[m, classes]."""

    def count(row: tuple[Array, Array]) -> Array:
        return _count(row, labels, temperature, classes)

    return jax.lax.map(count, (cosines, indices), batch_size=chunk)


def _count(
    row: tuple[Array, Array], labels: Array, temperature: Array | float, classes: int
) -> Array:
    """Return the votes of the k neighbours of one query: f32[k], i32[k] -> f32[classes]."""
    cosine, index = row
    weight = jnp.exp((cosine - cosine.max()) / temperature)
    chosen = jnp.asarray(labels)[index][:, None] == jnp.arange(classes)
    return jnp.where(chosen, weight[:, None], 0.0).sum(axis=0)


def _normalise_rows(rows: Array) -> Array:
    """Scale rows to length 1; leave rows of zeros."""
    rows = jnp.asarray(rows, jnp.float32)
    return rows / jnp.maximum(jnp.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
