"""Spans: equal to SpanBERT's on the same draws, geometric lengths, wav2vec's union of spans."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from maskmim.masks import spans
from maskmim.masks.core import MaskError
from maskmim.types import Context, Randomness
from tests.golden.masks.block_official import CASES, SPANS, recorded, spans_noise
from tests.tolerances import SIGNIFICANCE


@functools.partial(jax.jit, static_argnames=("sampler", "grid", "options"))
def draw(randomness, sampler, grid, options=()):
    return sampler(randomness, Context({}, {"tokens": grid}, {}), **dict(options))


def by_moment(moments, count):
    """Mark the `count` tokens of each row that are hidden first."""
    return moments < np.sort(moments, axis=1)[:, count : count + 1]


def recorded_draws(count, length):
    """Return turns and lengths i64[count, length] of the recorded noise."""
    draws = [spans_noise(seed, length) for seed in range(count)]
    return (np.stack(part) for part in zip(*draws, strict=True))


@functools.partial(jax.jit, static_argnames="longest")
def moments_of(order, lengths, longest):
    row = functools.partial(spans.hiding_moments, longest=longest)
    return jax.vmap(row)(order, lengths)


@pytest.mark.parametrize("place", range(len(SPANS)))
def test_geometric_spans_equal_spanberts(place):
    """Recorded by tests/golden/masks/block_official.py from facebookresearch/SpanBERT."""
    length, _ = SPANS[place]
    turns, lengths = recorded_draws(CASES, length)
    moments = np.asarray(moments_of(np.argsort(turns, axis=1), lengths, 10))
    official = recorded("spans", place, (length,))
    np.testing.assert_array_equal(by_moment(moments, official[0].sum()), official)


def one_by_one(turns, lengths):
    """Compute the moments by the loop of the definition, until every token is hidden."""
    moments = np.full(len(turns), -1)
    for turn, token in enumerate(turns):
        if moments[token] < 0:
            for offset in range(lengths[token]):
                if token + offset < len(turns) and moments[token + offset] < 0:
                    moments[token + offset] = turn * 10 + offset
    return moments


def test_moments_are_those_of_the_loop():
    turns, lengths = recorded_draws(40, 60)
    # Turns in the order of the sequence and reversed: the longest chains of dependence.
    turns[0], turns[1] = np.arange(60), np.arange(60)[::-1]
    ours = moments_of(np.argsort(turns, axis=1), lengths, 10)
    expected = [one_by_one(*row) for row in zip(turns, lengths, strict=True)]
    np.testing.assert_array_equal(np.asarray(ours), expected)


def test_lengths_are_geometric_and_redrawn_if_too_long():
    uniform = jax.random.uniform(jax.random.key(1), (20000,))
    lengths = np.asarray(spans.span_lengths(uniform, p=0.2, longest=10))
    law = 0.2 * 0.8 ** np.arange(10)
    expected = law / law.sum() * len(lengths)
    seen = np.bincount(lengths, minlength=11)
    assert seen[0] == 0 and chisquare(seen[1:], expected).pvalue > SIGNIFICANCE
    assert lengths.mean() == pytest.approx(3.8, abs=0.08)
    ends = np.asarray(spans.span_lengths(jnp.array([0.0, 1 - 2**-24]), p=0.2, longest=10))
    np.testing.assert_array_equal(ends, [1, 10])


def test_first_geometric_spans_start_anywhere():
    scores = np.asarray(draw(Randomness.of(jax.random.key(2), 3000), spans.geometric_scores, (40,)))
    starts = np.bincount(scores.argmin(1), minlength=40)
    assert chisquare(starts).pvalue > SIGNIFICANCE


@pytest.mark.parametrize("grid, length", [((4, 9), 5), ((7,), 10), ((30,), 1)])
def test_fixed_spans_are_the_union_of_the_first_spans(grid, length):
    tokens = int(np.prod(grid))
    span = min(length, tokens)
    randomness = Randomness.of(jax.random.key(3), 20)
    scores = np.asarray(draw(randomness, spans.fixed_scores, grid, (("length", length),)))
    for row in scores:
        turns = {}
        for token, moment in enumerate(row.astype(int)):
            turns.setdefault(moment // span, []).append(token - moment % span)
        # Tokens of one turn name one start, and the turns' spans cover what is hidden by then.
        hidden = np.zeros(tokens, bool)
        for turn in sorted(turns):
            (start,) = set(turns[turn])
            assert 0 <= start <= tokens - span
            hidden[start : start + span] = True
            np.testing.assert_array_equal(hidden, row < (turn + 1) * span)
        assert hidden.all()


def test_fixed_spans_start_without_replacement_and_anywhere():
    randomness = Randomness.of(jax.random.key(4), 3000)
    scores = np.asarray(draw(randomness, spans.fixed_scores, (30,), (("length", 4),)))
    starts = np.bincount(scores.argmin(1), minlength=27)
    assert len(starts) == 27 and chisquare(starts).pvalue > SIGNIFICANCE
    # The official number of spans hides a number of tokens that varies.
    turns = scores.astype(int) // 4
    hidden = (turns < 5).sum(1)
    assert hidden.max() == 20 and hidden.min() < 14


def test_official_numbers_of_spans_hide_about_half():
    randomness = Randomness.of(jax.random.key(5), 300)
    scores = np.asarray(draw(randomness, spans.fixed_scores, (512,)))
    hidden = (scores < 33 * 10).mean(1)
    assert hidden.mean() == pytest.approx(0.49, abs=0.015) and hidden.std() > 0.01


@pytest.mark.parametrize("sampler", [spans.geometric, spans.fixed])
@pytest.mark.parametrize("ratio", [0.05, 0.95])
def test_counts_are_exact(sampler, ratio):
    mask = draw(Randomness.of(jax.random.key(0), 5), sampler, (5, 9), (("ratio", ratio),))
    assert (np.asarray(mask.hidden).sum(1) == round(ratio * 45)).all()
    assert mask.predict.shape == (5, round(ratio * 45))


def test_what_cannot_be_drawn_is_an_error():
    randomness = Randomness.of(jax.random.key(0), 2)
    for options in ({"p": 0.0}, {"p": 1.0}, {"longest": 0}):
        with pytest.raises(MaskError, match="longest"):
            draw(randomness, spans.geometric_scores, (9,), tuple(options.items()))
    with pytest.raises(MaskError, match="length 0"):
        draw(randomness, spans.fixed_scores, (9,), (("length", 0),))
