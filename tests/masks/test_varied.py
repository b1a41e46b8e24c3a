"""Varying numbers of hidden tokens in static shapes."""

from functools import partial

import jax
import numpy as np
import pytest

from maskmim.masks import core, ratio, varied
from maskmim.masks.core import MaskError
from maskmim.masks.uniform import random_scores
from maskmim.types import Context, Randomness

GRID = (16, 16)
BATCH = 64


def draw(sampler, **options):
    context = Context({}, {"tokens": GRID}, {}, 0.0)
    randomness = Randomness.of(jax.random.key(3), BATCH)
    return sampler(randomness, context, scores=random_scores, **options)


def test_ranks_are_numpys_and_break_ties_as_the_exact_split_does():
    scores = np.random.RandomState(0).randint(0, 5, (3, 40)).astype(np.float32)
    ranks = np.asarray(core.ranks(scores))
    for row, places in zip(scores, ranks, strict=True):
        order = sorted(range(40), key=lambda i: (row[i], -i))
        np.testing.assert_array_equal(np.argsort(places), order)


@pytest.mark.proves(
    41, "dropped tokens are a part of the masked ones, only masked ones have weight"
)
def test_mage_drops_half_and_masks_a_varying_share():
    mask = draw(varied.per_batch, law=ratio.truncated_normal, dropped=0.5)
    hidden, visible = np.asarray(mask.hidden), np.asarray(mask.visible)
    assert visible.shape == (BATCH, 128)
    counts = hidden.sum(1)
    assert len(set(counts)) == 1 and 128 <= counts[0] <= 256
    seen = np.zeros_like(hidden)
    np.put_along_axis(seen, visible, True, axis=1)
    assert (seen | hidden).all(), "dropped tokens are masked"
    np.testing.assert_array_equal(np.asarray(mask.weight), hidden)
    np.testing.assert_array_equal(np.asarray(mask.predict)[0], np.arange(256))


@pytest.mark.proves(91, "the mask ratio varies")
def test_each_example_has_its_own_ratio():
    law = partial(ratio.uniform, low=0.5, high=1.0)
    mask = draw(varied.per_example, law=law)
    counts = np.asarray(mask.hidden).sum(1)
    assert mask.visible.shape == (BATCH, 256)
    assert 128 <= counts.min() < counts.max() <= 256 and len(set(counts)) > BATCH / 2


def test_the_weakest_tokens_are_hidden():
    context = Context({}, {"tokens": GRID}, {}, 0.0)
    randomness = Randomness.of(jax.random.key(3), BATCH)
    scores = np.asarray(random_scores(randomness, context))
    hidden = np.asarray(draw(varied.per_example, law=ratio.uniform).hidden)
    for row, gone in zip(scores, hidden, strict=True):
        assert row[gone].max() < row[~gone].min() if not gone.all() else True


def test_a_whole_example_has_no_weight():
    law = partial(ratio.fixed, share=0.0)
    mask = draw(varied.per_example, law=law)
    assert not np.asarray(mask.hidden).any() and not np.asarray(mask.weight).any()


def test_masks_of_a_batch_do_not_depend_on_its_parts():
    context = Context({}, {"tokens": GRID}, {}, 0.0)
    batch_mask = draw(varied.per_batch, law=ratio.uniform)
    part = Randomness(jax.random.key(3), np.arange(8, 16, dtype=np.uint32))
    part_mask = varied.per_batch(part, context, scores=random_scores, law=ratio.uniform)
    np.testing.assert_array_equal(part_mask.hidden, batch_mask.hidden[8:16])


@pytest.mark.parametrize("dropped", [-0.1, 1.0])
def test_dropping_everything_is_an_error(dropped):
    with pytest.raises(MaskError, match="dropped"):
        draw(varied.per_batch, law=ratio.uniform, dropped=dropped)
