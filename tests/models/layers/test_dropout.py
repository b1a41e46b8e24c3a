"""Dropout: its rate, its scale, and what its draws depend on."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from maskmim.models.layers.dropout import drop, for_blocks
from maskmim.types import Randomness
from tests.tolerances import SIGNIFICANCE

pytestmark = pytest.mark.full

RATE, SHAPE = 0.1, (4, 50, 40)


def blocks(examples: int = SHAPE[0], seed: int = 0) -> list[Randomness]:
    """Return the randomness of three blocks."""
    randomness = Randomness.of(jax.random.key(seed), examples)
    stacked = for_blocks(randomness, depth=3, rate=RATE)
    return [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(3)]


@partial(jax.jit, static_argnames=("name", "rate"))
def dropped(x, randomness, name="mlp", rate=RATE):
    return drop(x, randomness, name, rate=rate)


def kept(randomness, name="mlp", shape=SHAPE):
    return np.asarray(dropped(jnp.ones(shape, jnp.float32), randomness, name)) > 0


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_values_are_dropped_at_the_rate_and_others_scaled(rate):
    x = jnp.arange(1, 1 + np.prod(SHAPE), dtype=jnp.float32).reshape(SHAPE)
    found = np.asarray(dropped(x, blocks()[0], rate=rate))
    zeros = found == 0
    assert stats.binomtest(int(zeros.sum()), zeros.size, rate).pvalue > SIGNIFICANCE
    np.testing.assert_allclose(found[~zeros], np.asarray(x)[~zeros] / (1 - rate), rtol=1e-6)


def test_blocks_places_and_examples_draw_independently():
    """Both of two draws keep a value as often as independent ones do."""
    first, second, _ = blocks()
    draws = [kept(first), kept(second), kept(first, "hidden"), kept(blocks(seed=1)[0])]
    pairs = [(draws[0], other) for other in draws[1:]]
    pairs.append((draws[0][:-1], draws[0][1:]))
    pairs.append((draws[0][:, :-1], draws[0][:, 1:]))
    for one, other in pairs:
        differing = int((one != other).sum())
        expected = 2 * RATE * (1 - RATE)
        assert stats.binomtest(differing, one.size, expected).pvalue > SIGNIFICANCE


def test_an_example_draws_by_its_slot_alone():
    whole = kept(blocks(4)[1])
    part = blocks(4)[1]
    np.testing.assert_array_equal(
        kept(part._replace(slots=part.slots[2:]), shape=(2, 50, 40)), whole[2:]
    )
    np.testing.assert_array_equal(kept(blocks(2)[1], shape=(2, 50, 40)), whole[:2])


def test_nothing_is_dropped_without_randomness_or_a_rate():
    x = jnp.ones(SHAPE, jnp.float32)
    np.testing.assert_array_equal(drop(x, None, "mlp", rate=RATE), x)
    assert for_blocks(None, depth=2, rate=RATE) is None
    assert for_blocks(Randomness.of(jax.random.key(0), 2), depth=2, rate=0.0) is None


def test_bfloat16_stays_bfloat16():
    found = dropped(jnp.ones(SHAPE, jnp.bfloat16), blocks()[0])
    assert found.dtype == jnp.bfloat16
    assert set(np.unique(np.asarray(found, np.float32))) == {0.0, 1.109375}
