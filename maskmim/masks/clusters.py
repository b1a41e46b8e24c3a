"""Masks from clusters of patch features, which find the main object without labels and hide it.

Patches are nodes of a graph whose edges are similarities of features; a normalised cut splits them
in two, and one side counts as the object. Similarities stay products of features, so memory grows
with N D, not N N.

Source: Self-Guided MAE (NeurIPS 2024), section 4; the rule which side is the object: TokenCut
(CVPR 2022), section 3.
Uncertain: no code of Self-Guided MAE is published, and we know its details at second hand only.
Our choices: edges of (1 + cosine) / 2, never negative; the rule of TokenCut (which also cuts off
edges at a threshold; that would need N N numbers); the share of hints and drawing them uniformly.
The teacher decides which layer the features come from. The paper starts with random masks and
changes over early in training.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import Fraction, OpenFraction, PositiveInt
from maskmim.masks.core import MaskError, from_scores
from maskmim.types import Array, Context, Mask, Randomness, random_key

PRECISE = jax.lax.Precision.HIGHEST


@facts.sampler(needs=("features",))
def self_guided(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    hints: Fraction = 0.05,
    rounds: PositiveInt = 32,
) -> Mask:
    """Hide the tokens most similar to the main object, except a few as hints.

    ratio: share of hidden tokens, exact after rounding. Other keywords: `self_guided_scores`.
    Source, and what is uncertain: see the module.
    """
    return from_scores(
        self_guided_scores(randomness, context, hints=hints, rounds=rounds), ratio=ratio
    )


@facts.scores(needs=("features",))
def self_guided_scores(
    randomness: Randomness, context: Context, *, hints: Fraction = 0.05, rounds: PositiveInt = 32
) -> Array:
    """Draw the scores f32[B, N] that `self_guided` ranks; the largest stay visible.

    Reads the hint 'features' f32[B, N, D], computed on the unmasked image without gradient.
    hints: share of the object's tokens left visible, drawn at random; they are hidden last.
    rounds: of the iteration that finds the cut, see `fiedler`.
    Raises MaskError for hints outside [0, 1].
    """
    if not 0 <= hints <= 1:
        raise MaskError(f"hints {hints}: a share of the object's tokens, from 0 to 1")

    def score(key: Array, features: Array) -> Array:
        nodes = unit_features(features)
        inside = object_side(fiedler(nodes, rounds=rounds))
        similarity = cluster_similarity(nodes, inside)
        noise = jax.random.uniform(key, inside.shape, jnp.float32)
        place = jnp.argsort(jnp.argsort(jnp.where(inside, noise, 2.0)))
        shown = inside & (
            place < jnp.round(hints * inside.sum().astype(jnp.float32)).astype(place.dtype)
        )
        return jnp.where(shown, 2.0 + noise, -similarity)

    return jax.vmap(score)(randomness.each("mask"), context.hints["features"])


def unit_features(features: Array) -> Array:
    """Scale features [N, D] of any precision to length 1, in float32; zero ones stay zero."""
    features = features.astype(jnp.float32)
    norm = jnp.linalg.norm(features, axis=-1, keepdims=True)
    return features / jnp.maximum(norm, 1e-12)


def cluster_similarity(nodes: Array, inside: Array) -> Array:
    """Return each token's mean cosine similarity f32[N] to the tokens inside a cluster.

    nodes: f32[N, D] unit features; inside: bool[N].
    """
    inside = inside.astype(nodes.dtype)
    mean = jnp.matmul(inside, nodes, precision=PRECISE) / jnp.maximum(inside.sum(), 1.0)
    return jnp.matmul(nodes, mean, precision=PRECISE)


def object_side(vector: Array) -> Array:
    """Return the side of a cut that holds its largest absolute entry: f32[N] -> bool[N].

    The cut is at the mean; the sign of the vector does not matter.
    Source: TokenCut, section 3.
    """
    peak = vector[jnp.argmax(jnp.abs(vector))]
    upright = jnp.where(peak < 0, -vector, vector)
    return upright >= upright.mean()


def fiedler(nodes: Array, *, rounds: int = 32, block: int = 8) -> Array:
    """Return the vector f32[N] of the normalised cut in two, up to its sign.

    nodes: f32[N, D] unit features. With W = (1 + nodes nodes') / 2 and degrees D the vector is the
    second smallest solution of (D - W) y = lambda D y, so that splitting its entries by their mean
    cuts W. W is a product of factors, so D^-1/2 W D^-1/2 has no negative eigenvalue and repeated
    multiplication finds the vector; the first eigenvector, the roots of the degrees, is known and
    subtracted each time.
    rounds: multiplications, a fixed number. block: vectors iterated together; the error shrinks
    with the ratio of eigenvalue block + 2 to eigenvalue 2 in each round.
    """
    length = nodes.shape[0]
    factors = jnp.concatenate([jnp.ones((length, 1), nodes.dtype), nodes], axis=-1) * 0.5**0.5
    degrees = jnp.matmul(factors, factors.sum(0), precision=PRECISE)
    scaled = factors / jnp.sqrt(degrees)[:, None]
    first = jnp.sqrt(degrees / degrees.sum())

    def without_first(block: Array) -> Array:
        return block - first[:, None] * jnp.matmul(first, block, precision=PRECISE)[None]

    def multiply(block: Array) -> Array:
        short = jnp.matmul(scaled.T, block, precision=PRECISE)
        return jnp.matmul(scaled, short, precision=PRECISE)

    def step(_: int, block: Array) -> Array:
        return jnp.linalg.qr(without_first(multiply(block)))[0]

    count = min(block, length - 1)
    start = jax.random.normal(random_key(0), (length, count), nodes.dtype)
    basis = jax.lax.fori_loop(0, rounds, step, jnp.linalg.qr(without_first(start))[0])
    inner = jnp.matmul(basis.T, multiply(basis), precision=PRECISE)
    best = jnp.linalg.eigh(inner)[1][:, -1]
    return jnp.matmul(basis, best, precision=PRECISE) / jnp.sqrt(degrees)
