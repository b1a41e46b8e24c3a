"""Random erasing against timm with equal draws."""

import math
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy import stats
from timm.data.random_erasing import RandomErasing

from maskmim.methods.erasing import random_erasing, rectangle
from maskmim.methods.masked import MethodError
from maskmim.types import Randomness
from tests.tolerances import SIGNIFICANCE


@pytest.mark.parametrize("seed", range(6))
def test_the_rectangle_is_timm_s(monkeypatch, seed):
    """Long pictures, so that some of the ten rectangles do not fit."""
    rows, columns = (12, 40) if seed % 2 else (40, 12)
    rng = np.random.default_rng(seed)
    areas, aspects = rng.uniform(0.2, 0.9, 10), np.exp(rng.uniform(-1.2, 1.2, 10))
    corner = rng.uniform(size=2)
    draws = iter(np.stack([areas, np.log(aspects)], axis=1).ravel())
    corners = iter(corner)
    monkeypatch.setattr(random, "random", lambda: 0.0)
    monkeypatch.setattr(random, "uniform", lambda low, high: next(draws))
    monkeypatch.setattr(random, "randint", lambda low, high: int(next(corners) * (high + 1)))
    timm = RandomErasing(probability=1.0, mode="pixel", device="cpu")
    expected = timm(torch.zeros(1, rows, columns))[0].numpy() != 0
    found = rectangle(*map(jnp.float32, (areas, aspects, corner)), (rows, columns))
    assert expected.any()
    np.testing.assert_array_equal(found, expected)


def test_erases_as_often_and_as_much_as_asked():
    examples, side = 2048, 24
    inputs = jnp.full((examples, side, side, 3), 9.0)
    drawn = Randomness.of(jax.random.key(0), examples)
    erased = np.asarray(jax.jit(random_erasing)(drawn, inputs))
    changed = erased != 9
    assert np.array_equal(changed.all(-1), changed.any(-1))  # all channels of a pixel or none
    shares = changed[..., 0].mean(axis=(1, 2))
    assert stats.binomtest(int(np.sum(shares > 0)), examples, 0.25).pvalue > SIGNIFICANCE
    inside = shares[shares > 0]
    assert inside.min() > 0.01 and inside.max() < 0.36 and abs(inside.mean() - 0.177) < 0.02
    noise = erased[changed]
    assert stats.kstest(noise[:: len(noise) // 5000], "norm").pvalue > SIGNIFICANCE


def test_depends_on_the_slot_alone():
    inputs = jnp.zeros((6, 8, 8, 1))
    drawn = Randomness.of(jax.random.key(1), 6)
    whole = random_erasing(drawn, inputs, chance=1.0)
    turned = random_erasing(Randomness(drawn.key, drawn.slots[::-1]), inputs, chance=1.0)
    np.testing.assert_array_equal(turned, whole[::-1])
    assert not math.isclose(float(whole[0].sum()), float(whole[1].sum()))


def test_refuses_sequences():
    with pytest.raises(MethodError, match="erase=None"):
        random_erasing(Randomness.of(jax.random.key(0), 2), jnp.zeros((2, 9, 1)))
