"""Masks by importance: the law of the draw, and mutual information on a synthetic corpus."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.masks import importance
from maskmim.masks.core import MaskError
from maskmim.types import Context, Randomness
from tests.masks.test_learned import DRAWS, check_law

FILLERS, TOPICS, WORDS, LENGTH = 20, 10, 8, 40
VOCABULARY = FILLERS + TOPICS * WORDS + 400


def hidden(values: np.ndarray, ratio: float, **options) -> np.ndarray:
    context = Context({}, {"text": (values.shape[1],)}, {"importance": jnp.asarray(values)})
    draw = jax.jit(functools.partial(importance.weighted, context=context, ratio=ratio, **options))
    return np.asarray(draw(Randomness.of(jax.random.key(8), len(values))).hidden)


@functools.cache
def corpus() -> np.ndarray:
    """Make passages of filler and the words of one topic, each with one word that occurs once."""
    random = np.random.default_rng(0)
    frequency = 1 / np.arange(1, FILLERS + 1)
    tokens = random.choice(FILLERS, (400, LENGTH), p=frequency / frequency.sum())
    topic = random.integers(0, TOPICS, (400, 1))
    words = FILLERS + topic * WORDS + random.integers(0, WORDS, (400, LENGTH))
    tokens = np.where(random.random((400, LENGTH)) < 0.4, words, tokens)
    tokens[np.arange(400), random.integers(0, LENGTH, 400)] = VOCABULARY - 400 + np.arange(400)
    return tokens


@functools.cache
def counts() -> np.ndarray:
    return importance.cooccurrence(corpus(), vocabulary=VOCABULARY)


def means_by_kind(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean value over words of topics, filler and words that occur once."""
    tokens = corpus()
    filler, once = tokens < FILLERS, tokens >= VOCABULARY - 400
    return values[~filler & ~once].mean(), values[filler].mean(), values[once].mean()


def test_cooccurrence_counts_pairs_within_the_window():
    tokens = np.array([[0, 1, 2, 1, -1], [2, 2, -1, -1, -1]])
    pairs = importance.cooccurrence(tokens, vocabulary=3, window=2)
    np.testing.assert_array_equal(pairs, [[0, 1, 1], [1, 2, 2], [1, 2, 2]])


def test_information_of_independent_tokens_is_zero_and_of_companions_positive():
    frequency = np.array([40.0, 20.0, 10.0])
    independent = np.outer(frequency, frequency)
    information = importance.pointwise_mutual_information(independent, smoothing=1.0)
    np.testing.assert_allclose(information, 0, atol=1e-9)
    pairs = np.array([[0.0, 100.0, 0.0], [100.0, 0.0, 0.0], [0.0, 0.0, 200.0]])
    information = importance.pointwise_mutual_information(pairs, smoothing=1e-9)
    np.testing.assert_allclose(information[[0, 2], [1, 2]], np.log([4.0, 2.0]), rtol=1e-6)


@pytest.mark.proves(100, "mutual information ranks words of topics above filler")
def test_words_of_topics_are_more_important_than_filler():
    information = importance.pointwise_mutual_information(counts())
    topic, filler, once = means_by_kind(importance.token_importance(corpus(), information))
    assert topic > 3 * filler and topic > 3 * once, (topic, filler, once)


def test_without_smoothing_words_that_occur_once_dominate():
    information = importance.pointwise_mutual_information(counts(), smoothing=1e-6)
    topic, _, once = means_by_kind(importance.token_importance(corpus(), information))
    assert once > topic


@pytest.mark.proves(100, "hidden tokens have a higher idf than random ones")
def test_hidden_tokens_are_rarer_than_random_ones():
    information = importance.pointwise_mutual_information(counts())
    values = importance.token_importance(corpus(), information)
    contained = np.array([(corpus() == word).any(1).sum() for word in range(VOCABULARY)])
    idf = np.log(400 / np.maximum(contained, 1))[corpus()]
    mask = hidden(values, 0.3)
    random = hidden(np.zeros_like(values), 0.3)
    assert idf[mask].mean() > idf[random].mean() + 0.3


def test_padding_counts_for_nothing_and_is_hidden_last():
    tokens = np.array([[0, 1, -1, -1], [0, 1, 2, 2]])
    information = np.arange(9.0).reshape(3, 3)
    values = importance.token_importance(tokens, information + information.T)
    np.testing.assert_allclose(values[0], [4, 4, -np.inf, -np.inf])
    np.testing.assert_allclose(values[1], [(4 + 8 + 8) / 3, (4 + 12 + 12) / 3, 12, 12])
    mask = hidden(np.tile(values[:1], (100, 1)), 0.5)
    assert mask[:, :2].all() and not mask[:, 2:].any()


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_hidden_tokens_follow_the_law_of_a_draw_without_replacement(temperature):
    values = np.array([0.1, 1.0, 0.0, 0.6, -0.4], np.float32)
    mask = hidden(np.tile(values, (DRAWS, 1)), 0.4, temperature=temperature)
    check_law(mask, np.exp(values / temperature), 2)


def test_a_low_temperature_hides_the_most_important():
    values = np.random.default_rng(0).standard_normal((50, 20)).astype(np.float32)
    mask = hidden(values, 0.25, temperature=1e-5)
    most = np.argsort(-values, axis=1)[:, :5]
    assert np.take_along_axis(mask, most, axis=1).all()


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_temperature_is_above_zero(temperature):
    with pytest.raises(MaskError, match="temperature"):
        hidden(np.zeros((1, 4), np.float32), 0.5, temperature=temperature)


def test_smoothing_is_above_zero():
    with pytest.raises(ValueError, match="smoothing"):
        importance.pointwise_mutual_information(np.ones((2, 2)), smoothing=0.0)
