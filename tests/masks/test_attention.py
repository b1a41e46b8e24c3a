"""Masks from attention: AttMask's against the official code, the law of MILAN's draw.

tests/golden/masks/informed_official.npz holds attention and the official masks; informed_record.py
beside it says how it was made.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from maskmim.config.facts import facts_of
from maskmim.masks import attention
from maskmim.masks.core import MaskError
from maskmim.types import Context, Randomness
from tests.masks.test_learned import DRAWS, check_law
from tests.running import ROOT
from tests.tolerances import SIGNIFICANCE

GOLDEN = np.load(ROOT / "tests/golden/masks/informed_official.npz")
ATTENTION = GOLDEN["attention"]


@functools.cache
def hidden_by_mode(count: int) -> dict[str, np.ndarray]:
    """Return hidden tokens of `count` draws of each mode, at 0.3 on the golden attention."""
    values = jnp.asarray(np.resize(ATTENTION, (count, 196)))
    context = Context({}, {"tokens": (14, 14)}, {"attention": values})

    def draw(randomness: Randomness) -> dict[str, jax.Array]:
        names = ("high", "low", "hint")
        return {
            name: getattr(attention, name)(randomness, context, ratio=0.3).hidden for name in names
        }

    return jax.tree.map(np.asarray, jax.jit(draw)(Randomness.of(jax.random.key(5), count)))


def hidden(sampler, values: np.ndarray, ratio: float, seed: int = 5, **options) -> np.ndarray:
    """Return hidden tokens bool[B, N] for attention f32[B, N]."""
    context = Context({}, {"tokens": (values.shape[1],)}, {"attention": jnp.asarray(values)})
    draw = jax.jit(functools.partial(sampler, context=context, ratio=ratio, **options))
    return np.asarray(draw(Randomness.of(jax.random.key(seed), len(values))).hidden)


@pytest.mark.proves(82, "masks for given attention equal the official ones, high and low")
@pytest.mark.parametrize("mode", ["high", "low"])
def test_masks_equal_the_official_ones(mode):
    np.testing.assert_array_equal(hidden_by_mode(8000)[mode][:4], GOLDEN[mode])


@pytest.mark.proves(82, "0.3 of 196 tokens hides 58 under high and low, 53 under hint")
def test_the_official_counts():
    for mode, count in (("high", 58), ("low", 58), ("hint", 53)):
        counts = facts_of(getattr(attention, mode)).counts
        assert counts((14, 14), ratio=0.3) == (196 - count, count)
        assert (hidden_by_mode(8000)[mode].sum(1) == count).all()
    np.testing.assert_array_equal(GOLDEN["hint_counts"], [53])


@pytest.mark.proves(82, "hint reveals 5 tokens, uniform among the 19 most attended")
def test_hint_reveals_some_of_the_most_attended_at_random():
    high, hint = hidden_by_mode(8000)["high"][::4], hidden_by_mode(8000)["hint"][::4]
    assert not (hint & ~high).any()
    revealed = high & ~hint
    most = np.argsort(-ATTENTION[0], kind="stable")[:19]
    np.testing.assert_array_equal(revealed.sum(1), 5)
    np.testing.assert_array_equal(revealed[:, most].sum(1), 5)
    expected = len(hint) * 5 / 19
    off = ((revealed[:, most].sum(0) - expected) ** 2 / expected).sum()
    # Counts of draws without replacement vary less than independent ones, by (n - k) / (n - 1).
    assert chi2.sf(off * 18 / 14, 18) > SIGNIFICANCE


def test_hint_reveals_none_without_show_and_only_hidden_ones_with_a_large_one():
    without = hidden(attention.hint, ATTENTION, 0.3, show=0.0)
    np.testing.assert_array_equal(without, GOLDEN["high"])
    mask = hidden(attention.hint, ATTENTION, 0.2, show=0.9)
    assert attention.hint_counts((14, 14), ratio=0.2, show=0.9) == (192, 4)
    assert (mask.sum(1) == 4).all()
    assert not (mask & ~GOLDEN["high"]).any()


@pytest.mark.proves(82, "hidden area of objects: high above r, low below r, hint in between")
def test_hidden_area_of_an_attended_object():
    random = np.random.default_rng(2)
    scene = np.zeros((200, 14, 14), bool)
    for picture, (row, column) in zip(scene, random.integers(0, 8, (200, 2)), strict=True):
        picture[row : row + 6, column : column + 6] = True
    scene = scene.reshape(200, -1)
    values = np.exp(random.standard_normal(scene.shape) + 1.5 * scene)
    values = (values / values.sum(1, keepdims=True)).astype(np.float32)
    area = {
        name: hidden(getattr(attention, name), values, 0.3)[scene].mean()
        for name in ("high", "hint", "low")
    }
    assert area["high"] > area["hint"] + 0.05 > 0.55 and area["low"] < 0.1, area


@pytest.mark.proves(5, "visible tokens are drawn without replacement in proportion to attention")
def test_sampled_follows_attention():
    weights = np.array([0.4, 0.05, 0.15, 0.1, 0.3], np.float32)
    mask = hidden(attention.sampled, np.tile(weights, (DRAWS, 1)), 0.6)
    check_law(~mask, weights, 2)


def test_sampled_draws_tokens_without_attention_last_and_equally_often():
    values = np.tile(np.array([0.0, 0.7, 0.0, 1e-6, 0.0], np.float32), (3000, 1))
    shown = ~hidden(attention.sampled, values, 0.4)
    assert shown[:, [1, 3]].all()
    assert abs(shown[:, [0, 2, 4]].mean(0) - 1 / 3).max() < 0.04


@pytest.mark.parametrize("sampler", [attention.high, attention.low, attention.hint])
@pytest.mark.parametrize("ratio", [0.0, 0.004, 1.0])
def test_a_ratio_that_leaves_nothing_is_an_error(sampler, ratio):
    with pytest.raises(MaskError, match="mask ratio"):
        hidden(sampler, ATTENTION, ratio)


@pytest.mark.parametrize("show", [-0.1, 1.0])
def test_show_is_a_share(show):
    with pytest.raises(MaskError, match="show"):
        attention.hint_counts((14, 14), ratio=0.3, show=show)


def test_something_stays_hidden():
    with pytest.raises(MaskError, match="reveals all"):
        attention.hint_counts((10,), ratio=0.55, show=0.95)
