"""Masks that hide important tokens more often, and importance from co-occurrence in a corpus.

Importance is found once, when a corpus is prepared, and stored with the tokens: `cooccurrence` of
the corpus, `pointwise_mutual_information` of each pair, `token_importance` of each passage.

Source: the idea is that of Challenging Decoder (row 100): choose what is withheld by the pointwise
mutual information of the tokens of a passage. The authors do not publish their formula or ratios:
the formulas here are ours.
"""

from __future__ import annotations

import numpy as np

from maskmim.masks.core import MaskError, from_scores
from maskmim.masks.learned import perturbed
from maskmim.types import Array, Context, Mask, Randomness


def weighted_scores(
    randomness: Randomness, context: Context, *, temperature: float = 0.25
) -> Array:
    """Minus (importance / temperature + Gumbel noise), f32[B, N]; the largest stay visible."""
    if not temperature > 0:
        raise MaskError(f"temperature {temperature}: it must be above 0")
    return -perturbed(randomness, context.hints["importance"] / temperature)


def weighted(
    randomness: Randomness, context: Context, *, ratio: float, temperature: float = 0.25
) -> Mask:
    """Draws the hidden tokens without replacement, important ones more often.

    ratio: share of hidden tokens, exact after rounding.
    temperature: a token is hidden in proportion to exp(importance / temperature) of the hint
    'importance'; towards 0 the most important are hidden, for large values any.
    Raises MaskError unless temperature is above 0. Source: see the module.
    """
    return from_scores(weighted_scores(randomness, context, temperature=temperature), ratio=ratio)


weighted.needs = weighted_scores.needs = ("importance",)


def cooccurrence(tokens: np.ndarray, *, vocabulary: int, window: int = 10) -> np.ndarray:
    """How often each pair of tokens is at most `window` places apart: f64[V, V], symmetric.

    tokens: integers [passages, N] below `vocabulary`, negative for padding. The result needs
    8 V^2 bytes; sums over parts of a corpus are the counts of the whole.
    """
    tokens = np.asarray(tokens)
    counts = np.zeros((vocabulary, vocabulary))
    for apart in range(1, min(window, tokens.shape[1] - 1) + 1):
        left, right = tokens[:, :-apart], tokens[:, apart:]
        both = (left >= 0) & (right >= 0)
        np.add.at(counts, (left[both], right[both]), 1.0)
        np.add.at(counts, (right[both], left[both]), 1.0)
    return counts


def pointwise_mutual_information(counts: np.ndarray, *, smoothing: float = 5.0) -> np.ndarray:
    """Smoothed pointwise mutual information of each pair, in nats: f64[V, V].

    log((counts + smoothing) / (expected + smoothing)), where expected is what independent tokens
    of the same frequencies would have. Without smoothing, words that occur once would have the
    highest values; with it their values shrink to 0, those of frequent pairs hardly change.

    counts: [V, V] symmetric, from `cooccurrence`. smoothing: pairs, above 0.
    Raises ValueError unless smoothing is above 0.
    """
    if not smoothing > 0:
        raise ValueError(f"smoothing {smoothing}: pairs that never occur need some above 0")
    alone = counts.sum(1)
    expected = np.outer(alone, alone) / max(alone.sum(), 1.0)
    return np.log((counts + smoothing) / (expected + smoothing))


def token_importance(tokens: np.ndarray, information: np.ndarray) -> np.ndarray:
    """How much each token tells of the others of its passage: f32[passages, N].

    The mean over the other tokens of the passage of their information with it, negative values
    counted as 0; minus infinity at padding, so that `weighted` hides it last.

    tokens: integers [passages, N], negative for padding. information: f64[V, V].
    """
    tokens = np.asarray(tokens)
    present = tokens >= 0
    pairs = present[:, :, None] & present[:, None, :] & ~np.eye(tokens.shape[1], dtype=bool)
    told = np.maximum(information[tokens[:, :, None], tokens[:, None, :]], 0.0)
    mean = np.where(pairs, told, 0.0).sum(2) / np.maximum(pairs.sum(2), 1)
    return np.where(present, mean, -np.inf).astype(np.float32)
