"""Draws without replacement from logits: their law against exact enumeration, log-probabilities."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from maskmim.masks.learned import draw_log_probability, log_probabilities, sampled, sampled_scores
from maskmim.types import Context, Randomness
from tests.tolerances import PARITY, SIGNIFICANCE

LOGITS = np.array([1.2, -0.7, 0.3, 0.0, 2.0], np.float32)
DRAWS = 20000


def in_order(weights: np.ndarray, order: tuple[int, ...]) -> float:
    """Return the probability of drawing this order without replacement, token by token."""
    left, probability = weights.sum(), 1.0
    for token in order:
        probability *= weights[token] / left
        left -= weights[token]
    return probability


def check_law(chosen: np.ndarray, weights: np.ndarray, count: int) -> None:
    """Compare the drawn subsets, bool[draws, N], with exact enumeration by chi-square."""
    weights = np.asarray(weights, np.float64)
    subsets = list(itertools.combinations(range(len(weights)), count))
    exact = [sum(in_order(weights, o) for o in itertools.permutations(s)) for s in subsets]
    assert sum(exact) == pytest.approx(1)
    codes = chosen @ (1 << np.arange(len(weights)))
    seen = [(codes == sum(1 << token for token in subset)).sum() for subset in subsets]
    assert chisquare(seen, np.array(exact) * len(chosen)).pvalue > SIGNIFICANCE, (seen, exact)


def draw_with_scores(logits: np.ndarray, ratio: float, seed: int = 3):
    """Draw a mask and scores for each row of logits."""
    context = Context({}, {"tokens": (logits.shape[1],)}, {"logits": jnp.asarray(logits)})

    def both(randomness):
        return sampled(randomness, context, ratio=ratio), sampled_scores(randomness, context)

    return jax.jit(both)(Randomness.of(jax.random.key(seed), len(logits)))


@pytest.mark.proves(7, "visible tokens follow a draw without replacement from softmax(logits)")
@pytest.mark.parametrize("count", [1, 2, 3])
def test_visible_tokens_follow_the_law_of_a_draw_without_replacement(count):
    mask, _ = draw_with_scores(np.tile(LOGITS, (DRAWS, 1)), 1 - count / 5)
    check_law(~np.asarray(mask.hidden), np.exp(LOGITS), count)


@pytest.mark.proves(7, "5 % of 1568 tokens: 78 are visible")
def test_the_published_count():
    logits = np.random.default_rng(0).standard_normal((2, 1568)).astype(np.float32)
    mask, scores = draw_with_scores(logits, 0.95)
    assert mask.visible.shape == (2, 78) and mask.predict.shape == (2, 1490)
    _, order = jax.lax.top_k(scores, 78)
    np.testing.assert_array_equal(np.sort(order, axis=1), mask.visible)


def test_likely_tokens_are_visible_more_often():
    logits = np.zeros((400, 20), np.float32)
    logits[:, :5] = 3.0
    mask, _ = draw_with_scores(logits, 0.75)
    seen = (~np.asarray(mask.hidden)).mean(0)
    assert seen[:5].min() > 0.6 > 0.2 > seen[5:].max()


@pytest.mark.proves(7, "log-probabilities are those of the whole categorical distribution")
def test_log_probabilities_are_those_of_the_official_categorical():
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(1).standard_normal((3, 40)).astype(np.float32) * 2
    probabilities = torch.softmax(torch.from_numpy(logits), -1)
    official = [
        torch.distributions.Categorical(probs=row).log_prob(torch.arange(40)).numpy()
        for row in probabilities
    ]
    logarithms = log_probabilities(jnp.asarray(logits))
    np.testing.assert_allclose(logarithms, official, rtol=PARITY)


def test_log_probability_of_an_ordered_draw_is_exact():
    orders = list(itertools.permutations(range(5), 3))
    logits = jnp.tile(LOGITS, (len(orders), 1))
    logarithms = np.asarray(jax.jit(draw_log_probability)(logits, jnp.array(orders)))
    weights = np.exp(LOGITS.astype(np.float64))
    exact = np.log([in_order(weights, order) for order in orders])
    np.testing.assert_allclose(logarithms, exact, atol=PARITY)
    assert np.exp(logarithms).sum() == pytest.approx(1, abs=PARITY)


def test_a_draw_of_all_tokens_and_extreme_logits_stay_finite():
    logits = jnp.array([[0.0, 1.0, 2.0], [500.0, -500.0, 0.0]])
    order = jnp.array([[2, 0, 1], [1, 2, 0]])
    both = jax.value_and_grad(lambda logits: draw_log_probability(logits, order).sum())
    value, slope = jax.jit(both)(logits)
    first = np.log(in_order(np.exp([0.0, 1.0, 2.0]), (2, 0)))
    # Of 500, -500 and 0, drawing -500 first costs 1000, and then 0 before 500 another 500.
    assert value == pytest.approx(first - 1500)
    assert np.isfinite(slope).all()
