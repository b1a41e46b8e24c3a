"""Masks with missing values: they are never shown as data and never count in the loss.

tests/golden/masks/informed_official.npz holds gaps, noise and ReMasker's official result;
informed_record.py beside it says how it was made.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.mask_tools.statistics import visible_map
from maskmim.masks import missing
from maskmim.types import Context, Mask, Randomness
from tests.running import ROOT

GOLDEN = np.load(ROOT / "tests/golden/masks/informed_official.npz")


@functools.partial(jax.jit, static_argnames="ratio")
def draw(gaps: jax.Array, ratio: float = 0.5) -> Mask:
    context = Context({}, {"columns": (gaps.shape[1],)}, {"missing": gaps})
    randomness = Randomness.of(jax.random.key(6), len(gaps))
    return missing.observed_first(randomness, context, ratio=ratio)


def weighted(mask: Mask) -> np.ndarray:
    """Mark the tokens with a weight in the loss, bool[B, N]."""
    weights = np.zeros(mask.hidden.shape)
    np.put_along_axis(weights, np.asarray(mask.predict), np.asarray(mask.weight), axis=1)
    return weights == 1


@pytest.mark.proves(47, "shown and predicted entries for given noise equal the official ones")
def test_masks_equal_the_official_ones(monkeypatch):
    monkeypatch.setattr(missing, "random_scores", lambda *_: jnp.asarray(GOLDEN["columns"]))
    mask = draw.__wrapped__(jnp.asarray(GOLDEN["missing"]))
    np.testing.assert_array_equal(visible_map(mask.visible, (14,)), GOLDEN["shown"])
    np.testing.assert_array_equal(weighted(mask), GOLDEN["predicted"])


@pytest.mark.proves(47, "missing entries never enter as data and never count in the loss")
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_missing_tokens_are_never_shown_as_data(share):
    gaps = np.random.default_rng(1).random((300, 13)) < share
    mask = draw(gaps)
    shown = visible_map(mask.visible, (13,))
    hidden = np.asarray(mask.hidden)
    assert mask.visible.shape[1] == 7 and mask.predict.shape[1] == 6
    assert not (shown & ~hidden & gaps).any()
    assert not (weighted(mask) & gaps).any()
    np.testing.assert_array_equal(hidden, ~shown | gaps)
    np.testing.assert_array_equal(weighted(mask), ~shown & ~gaps)
    observed = (~gaps).sum(1)
    np.testing.assert_array_equal((shown & ~gaps).sum(1), np.minimum(observed, 7))


def test_rows_with_too_few_observed_tokens_fill_up_with_hidden_ones():
    gaps = np.ones((50, 10), bool)
    gaps[:, [2, 7]] = False
    mask = draw(gaps)
    shown = visible_map(mask.visible, (10,))
    assert shown[:, [2, 7]].all() and not np.asarray(mask.hidden)[:, [2, 7]].any()
    assert (np.asarray(mask.hidden) & shown).sum(1).tolist() == [3] * 50
    assert not np.asarray(mask.weight).any()


def test_every_observed_token_is_shown_equally_often():
    gaps = np.zeros((6000, 10), bool)
    gaps[:, 6:] = True
    shown = visible_map(draw(gaps, ratio=0.7).visible, (10,)).mean(0)
    np.testing.assert_allclose(shown[:6], 0.5, atol=5 * (0.25 / 6000) ** 0.5)
    assert not shown[6:].any()
