"""AttMask-Hint with varying numbers of hidden tokens."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.masks.attention import high, high_scores
from maskmim.masks.core import MaskError
from maskmim.masks.hinted import hinted
from maskmim.masks.ratio import fixed, uniform
from maskmim.masks.varied import per_batch
from maskmim.types import Context, Randomness

EXAMPLES, TOKENS, TOP = 400, 196, 19


def context() -> Context:
    values = np.random.default_rng(0).random((EXAMPLES, TOKENS)).astype(np.float32)
    return Context({}, {"image": (14, 14)}, {"attention": jnp.asarray(values)})


def draw_hinted(share: float, revealed: float, seed: int = 0):
    """Return the tokens hidden by the inner sampler and the Mask, with fixed shares."""
    inner = partial(per_batch, scores=high_scores, law=partial(fixed, share=share))
    law = partial(fixed, share=revealed)
    randomness = Randomness.of(jax.random.key(seed), EXAMPLES)
    mask = hinted(randomness, context(), sampler=inner, law=law, show=0.1)
    return np.asarray(inner(randomness, context()).hidden), mask


@pytest.mark.proves(82, "hint reveals int(s r N) of the int(s N) most attended tokens, uniformly")
def test_random_ones_of_the_most_attended_tokens_are_revealed():
    before, mask = draw_hinted(share=0.3, revealed=0.35)
    shown = before & ~np.asarray(mask.hidden)
    top = np.argsort(-np.asarray(context().hints["attention"]), axis=1)[:, :TOP]
    assert (before.sum(axis=1) == 59).all()
    assert (shown.sum(axis=1) == 6).all()  # int(0.1 * 0.35 * 196)
    among = np.take_along_axis(shown, top, axis=1)
    assert (among.sum(axis=1) == 6).all()
    # 400 draws of 6 of 19: each place 126 times, deviation 9.3.
    assert np.abs(among.sum(axis=0) - EXAMPLES * 6 / TOP).max() < 4 * 9.3
    np.testing.assert_array_equal(np.asarray(mask.weight) > 0, mask.hidden)


def test_the_shares_revealed_and_hidden_are_independent():
    law = partial(uniform, low=0.1, high=0.5)
    inner = partial(per_batch, scores=high_scores, law=law)
    pairs = set()
    for seed in range(12):
        randomness = Randomness.of(jax.random.key(seed), EXAMPLES)
        mask = hinted(randomness, context(), sampler=inner, law=law, show=0.1)
        whole = np.asarray(inner(randomness, context()).hidden)
        shown = (whole & ~np.asarray(mask.hidden)).sum(axis=1)
        assert len(set(shown)) == 1
        pairs.add((int(whole[0].sum()), int(shown[0])))
    ranked = np.argsort(np.argsort(np.array(sorted(pairs))[:, 1]))
    assert min(shown for _, shown in pairs) >= 1 and max(shown for _, shown in pairs) <= 9
    assert ranked.tolist() != sorted(ranked.tolist())


def test_samplers_that_drop_tokens_and_invalid_shares_are_errors():
    randomness = Randomness.of(jax.random.key(0), EXAMPLES)
    law = partial(fixed, share=0.3)
    with pytest.raises(MaskError, match=r"138 of 196 tokens enter.*varied"):
        hinted(randomness, context(), sampler=partial(high, ratio=0.3), law=law)
    with pytest.raises(MaskError, match="show 1"):
        hinted(randomness, context(), sampler=partial(high, ratio=0.3), law=law, show=1.0)
