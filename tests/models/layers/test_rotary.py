"""CAPI's rotary positions against the official code, and what they are not."""

import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.models.layers.rotary import (
    RotaryError,
    angles,
    border,
    coordinates,
    frequencies,
    turned,
)
from tests.golden.capi import case
from tests.tolerances import PARITY


@pytest.fixture(scope="module")
def golden():
    return np.load(case.GOLDEN)


def test_frequencies_equal_the_official_ones(golden):
    """Theirs are [2, size], each coordinate's half, the other half 0."""
    found = np.concatenate([frequencies(8)] * 2)
    wanted = golden["frequencies"]
    np.testing.assert_allclose(found, wanted[0, :4], rtol=PARITY)
    np.testing.assert_allclose(found, wanted[1, 4:], rtol=PARITY)
    assert not wanted[0, 4:].any() and not wanted[1, :4].any()


@pytest.mark.proves(64, "rotary positions turn queries and keys as the official ones do")
def test_channels_turn_as_the_official_ones(golden):
    places = np.random.RandomState(4).rand(1, 5, 2).astype(np.float32)
    channels = np.random.RandomState(5).rand(1, 5, 8).astype(np.float32)
    found = turned(jnp.asarray(channels[:, None]), angles(jnp.asarray(places), 8))[:, 0]
    wanted = golden["turned"]
    np.testing.assert_allclose(found, wanted, atol=PARITY * np.abs(wanted).max())


def test_it_is_a_rotation_on_the_diagonal_alone():
    """As published, see `turned`: lengths change where the two coordinates differ."""
    x = np.random.RandomState(6).randn(1, 1, 2, 8).astype(np.float32)
    places = jnp.asarray([[[0.3, 0.3], [0.3, 0.9]]])
    found = np.linalg.norm(turned(x, angles(places, 8)), axis=-1)[0, 0]
    before = np.linalg.norm(x, axis=-1)[0, 0]
    assert found[0] == pytest.approx(before[0], rel=1e-5)
    assert found[1] != pytest.approx(before[1], rel=1e-2)


def test_places(golden):
    np.testing.assert_allclose(border(12), golden["border"], atol=1e-6)
    found = coordinates((3, 2))
    wanted = [(0, 0), (0, 1), (0.5, 0), (0.5, 1), (1, 0), (1, 1)]
    np.testing.assert_allclose(found, wanted)
    assert border(0).shape == (0, 2)


def test_what_is_not_served():
    with pytest.raises(RotaryError, match="rows, columns"):
        coordinates((2, 2, 2))
    with pytest.raises(RotaryError, match="6 registers"):
        border(6)
    with pytest.raises(RotaryError, match="heads of 6"):
        frequencies(6)
