"""Masks from attention: the official hidden tokens, the narrowing of candidates, the choice.

region_sma.npz holds the official code's masks, see tests/golden/masks/region_record.py.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from maskmim.mask_tools.statistics import coverage_chi_square
from maskmim.masks import self_attention
from maskmim.masks.core import MaskError, from_scores
from maskmim.types import Context, Randomness
from tests.running import ROOT
from tests.tolerances import SIGNIFICANCE


@functools.cache
def official() -> dict[str, np.ndarray]:
    with np.load(ROOT / "tests/golden/masks/region_sma.npz") as stored:
        return dict(stored)


def official_case(name: str, noise: np.ndarray, width: int) -> np.ndarray:
    """Return hidden tokens bool[4, 60] for the queries that the official code drew."""
    attention, queries = official()["attention"], official()[f"{name}_queries"]
    chosen = np.zeros(attention.shape[:2], bool)
    np.put_along_axis(chosen, queries, True, axis=1)
    scores = jax.vmap(self_attention.window_scores, (0, 0, 0, None))(
        jnp.asarray(attention), jnp.asarray(chosen), jnp.asarray(noise, jnp.float32), width
    )
    return np.asarray(from_scores(scores, ratio=0.3).hidden)


@pytest.mark.proves(17, "given attention and chosen queries, the official hidden tokens")
def test_hidden_tokens_are_the_official_ones():
    noise = np.random.RandomState(0).rand(4, 60)
    np.testing.assert_array_equal(official_case("late", noise, 18), official()["late_hidden"])
    assert (official_case("late", noise, 20) != official()["late_hidden"]).any()


@pytest.mark.proves(17, "the warm-in's hidden tokens are the official ones, given its permutation")
def test_hidden_tokens_of_the_warm_in_are_the_official_ones():
    attention, queries = official()["attention"], official()["warm_queries"]
    order = np.argsort(-np.take_along_axis(attention, queries[..., None], axis=1).sum(1), axis=1)
    permutations = official()["warm_permutations"]
    width = permutations.shape[1]
    assert width == round(60 * (0.3 + 0.7 * 0.4)) == 35
    noise = np.ones((4, 60))
    shuffled = np.take_along_axis(order, permutations, axis=1)
    np.put_along_axis(noise, shuffled, np.arange(width)[None] / width, axis=1)
    np.testing.assert_array_equal(official_case("warm", noise, width), official()["warm_hidden"])


@functools.partial(jax.jit, static_argnames="options")
def hide(seed, attention, progress, options=()):
    randomness = Randomness.of(jax.random.key(seed), len(attention))
    hints = {"token_attention": attention}
    context = Context({}, {"tokens": (attention.shape[2],)}, hints, progress)
    return self_attention.attended(randomness, context, ratio=0.3, **dict(options)).hidden


def test_the_warm_in_narrows_along_half_a_cosine():
    # Official schedule: s falls from 1 to 0 by steps of a cosine over the share `until`.
    steps = np.arange(400) / 400
    scale = np.where(steps < 0.25, (1 + np.cos(np.pi * steps / 0.25)) / 2, 0)
    expected = np.round(196 * (0.3 + (0.9 - 0.3) * scale))
    widths = jax.vmap(
        lambda progress: self_attention.candidate_count(progress, 196, ratio=0.3, initial=0.9)
    )(jnp.asarray(steps, jnp.float32))
    np.testing.assert_array_equal(widths, expected)
    assert widths[0] == 176 and widths[100] == 59
    never = self_attention.candidate_count(0.0, 196, ratio=0.3, until=0)
    assert never == 59


def test_the_beginning_is_random():
    attention = jnp.broadcast_to(jnp.arange(36.0), (3000, 4, 36))
    hidden = np.asarray(hide(0, attention, 0.0))
    statistic, degrees = coverage_chi_square(~hidden.reshape(-1, 6, 6))
    assert chi2.sf(statistic, degrees) > SIGNIFICANCE


def test_after_the_warm_in_nothing_but_queries_is_random():
    attention = jnp.asarray(np.random.RandomState(0).rand(64, 6, 40), jnp.float32)
    every = (("per_query", 0.1),)
    hidden = np.asarray(hide(0, attention, 0.25, every))
    largest = np.argsort(-np.asarray(attention, np.float64).sum(1), axis=1)[:, :12]
    assert np.take_along_axis(hidden, largest, axis=1).all() and (hidden.sum(1) == 12).all()
    np.testing.assert_array_equal(hide(1, attention, 0.9, every), hidden)
    one = (("per_query", 100.0),)
    alone = np.asarray(hide(0, attention, 0.9, one))
    tops = np.argsort(-np.asarray(attention), axis=2)[..., :12]
    choices = np.zeros(attention.shape, bool)
    np.put_along_axis(choices, tops, True, axis=2)
    matches = (choices == alone[:, None]).all(-1)
    assert (matches.sum(1) == 1).all()
    assert (np.asarray(hide(1, attention, 0.9, one)) != alone).any()


@pytest.mark.proves(17, "after the warm-in hidden tokens come from groups attended together")
def test_tokens_that_are_attended_together_are_hidden_together():
    # Query q looks at group q of 40 tokens; 12 hidden tokens need the 10 of one group at least.
    groups = np.random.default_rng(0).permuted(np.tile(np.arange(40) % 4, (200, 1)), axis=1)
    attention = np.where(groups[:, None] == np.arange(4)[:, None], 0.09, 0.003)
    attention = jnp.asarray(attention, jnp.float32)
    share = {}
    for progress in (0.0, 0.9):
        hidden = np.asarray(hide(0, attention, progress, (("per_query", 12.0),)))
        counts = (hidden[..., None] & (groups[..., None] == np.arange(4))).sum(1)
        share[progress] = (counts * (counts - 1)).sum() / (200 * 12 * 11)
    assert share[0.9] > 0.6
    assert share[0.0] == pytest.approx(9 / 39, abs=0.02)


@pytest.mark.parametrize(
    "options", [{"initial": 0.2}, {"initial": 1.1}, {"until": 1.5}, {"per_query": 0.0}]
)
def test_keywords_out_of_range_are_refused(options):
    with pytest.raises(MaskError, match="per_query must be above 0"):
        hide(0, jnp.ones((2, 4, 20)), 0.0, tuple(options.items()))
