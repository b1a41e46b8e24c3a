"""Masks that hide important tokens more often, and importance from co-occurrence in a corpus.

Importance is computed once, when a corpus is prepared, and stored with the tokens: `cooccurrence`
of the corpus, `pointwise_mutual_information` of each pair, `token_importance` of each passage.

Source: the idea of Challenging Decoder (row 100) to choose hidden tokens by the pointwise mutual
information of the tokens of a passage. The authors do not publish their formula or ratios: the
formulas here are ours.
"""

from __future__ import annotations

import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import OpenFraction, Positive
from maskmim.masks.core import MaskError, from_scores
from maskmim.masks.learned import perturbed
from maskmim.types import Array, Context, Mask, Randomness


@facts.scores(needs=("importance",))
def weighted_scores(
    randomness: Randomness, context: Context, *, temperature: Positive = 0.25
) -> Array:
    """Draw minus (importance / temperature + Gumbel noise): f32[B, N]; largest stay visible."""
    if not temperature > 0:
        raise MaskError(f"temperature {temperature}: it must be above 0")
    return -perturbed(randomness, context.hints["importance"] / temperature)


@facts.sampler(needs=("importance",))
def weighted(
    randomness: Randomness, context: Context, *, ratio: OpenFraction, temperature: Positive = 0.25
) -> Mask:
    """Hide tokens drawn without replacement, important ones more often.

    ratio: share of hidden tokens, exact after rounding.
    temperature: tokens are drawn in proportion to exp(importance / temperature) of the hint
    'importance' f32[B, N]; towards 0 the most important are hidden, for large values any.
    Raises MaskError unless temperature is above 0. Source: see the module.
    """
    return from_scores(weighted_scores(randomness, context, temperature=temperature), ratio=ratio)


def cooccurrence(tokens: np.ndarray, *, vocabulary: int, window: int = 10) -> np.ndarray:
    """Count how often each pair of tokens is at most `window` places apart: symmetric f64[V, V].

    tokens: integers [passages, N] below `vocabulary`, negative for padding. The result needs
    8 V^2 bytes; the counts of parts of a corpus add up to those of the corpus.
    """
    tokens = np.asarray(tokens)
    counts = np.zeros((vocabulary, vocabulary))
    for distance in range(1, min(window, tokens.shape[1] - 1) + 1):
        left, right = tokens[:, :-distance], tokens[:, distance:]
        both = (left >= 0) & (right >= 0)
        np.add.at(counts, (left[both], right[both]), 1.0)
        np.add.at(counts, (right[both], left[both]), 1.0)
    return counts


def pointwise_mutual_information(counts: np.ndarray, *, smoothing: float = 5.0) -> np.ndarray:
    """Return the smoothed pointwise mutual information of each pair, in nats: f64[V, V].

    log((counts + smoothing) / (expected + smoothing)), where expected is the count of independent
    tokens of the same frequencies. Without smoothing, tokens that occur once would have the highest
    values; with it their values shrink to 0, those of frequent pairs hardly change.

    counts: [V, V] symmetric, from `cooccurrence`. smoothing: pairs, above 0.
    Raises ValueError unless smoothing is above 0.
    """
    if not smoothing > 0:
        raise ValueError(f"smoothing {smoothing}: it must be above 0, since some pairs never occur")
    totals = counts.sum(1)
    expected = np.outer(totals, totals) / max(totals.sum(), 1.0)
    return np.log((counts + smoothing) / (expected + smoothing))


def token_importance(tokens: np.ndarray, information: np.ndarray) -> np.ndarray:
    """Return each token's mean information about the others of its passage: f32[passages, N].

    Negative values count as 0; padding has minus infinity, so that `weighted` hides it last.

    tokens: integers [passages, N], negative for padding. information: f64[V, V].
    """
    tokens = np.asarray(tokens)
    present = tokens >= 0
    pairs = present[:, :, None] & present[:, None, :] & ~np.eye(tokens.shape[1], dtype=bool)
    shared = np.maximum(information[tokens[:, :, None], tokens[:, None, :]], 0.0)
    mean = np.where(pairs, shared, 0.0).sum(2) / np.maximum(pairs.sum(2), 1)
    return np.where(present, mean, -np.inf).astype(np.float32)
