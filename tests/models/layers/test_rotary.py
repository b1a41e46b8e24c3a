"""CAPI's rotary positions against the official code, and where they are not a rotation."""

import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.models.layers.rotary import (
    RotaryError,
    angles,
    border_coordinates,
    frequencies,
    grid_coordinates,
    rotate,
)
from tests.golden.capi import case
from tests.tolerances import PARITY


@pytest.fixture(scope="module")
def golden():
    return np.load(case.GOLDEN)


def test_frequencies_equal_the_official_ones(golden):
    """Official ones are [2, size], with one half of the channels for each coordinate, else 0."""
    ours = np.concatenate([frequencies(8)] * 2)
    official = golden["frequencies"]
    np.testing.assert_allclose(ours, official[0, :4], rtol=PARITY)
    np.testing.assert_allclose(ours, official[1, 4:], rtol=PARITY)
    assert not official[0, 4:].any() and not official[1, :4].any()


@pytest.mark.proves(64, "rotary positions turn queries and keys as the official ones do")
def test_channels_turn_as_the_official_ones(golden):
    coordinates = np.random.RandomState(4).rand(1, 5, 2).astype(np.float32)
    channels = np.random.RandomState(5).rand(1, 5, 8).astype(np.float32)
    ours = rotate(jnp.asarray(channels[:, None]), angles(jnp.asarray(coordinates), 8))[:, 0]
    official = golden["turned"]
    np.testing.assert_allclose(ours, official, atol=PARITY * np.abs(official).max())


def test_it_is_a_rotation_on_the_diagonal_alone():
    """As published, see `rotate`: lengths change where the two coordinates differ."""
    x = np.random.RandomState(6).randn(1, 1, 2, 8).astype(np.float32)
    coordinates = jnp.asarray([[[0.3, 0.3], [0.3, 0.9]]])
    after = np.linalg.norm(rotate(x, angles(coordinates, 8)), axis=-1)[0, 0]
    before = np.linalg.norm(x, axis=-1)[0, 0]
    assert after[0] == pytest.approx(before[0], rel=1e-5)
    assert after[1] != pytest.approx(before[1], rel=1e-2)


def test_coordinates_of_registers_and_tokens(golden):
    np.testing.assert_allclose(border_coordinates(12), golden["border"], atol=1e-6)
    expected = [(0, 0), (0, 1), (0.5, 0), (0.5, 1), (1, 0), (1, 1)]
    np.testing.assert_allclose(grid_coordinates((3, 2)), expected)
    assert border_coordinates(0).shape == (0, 2)


def test_unsupported_grids_registers_and_heads_are_refused():
    with pytest.raises(RotaryError, match="rows, columns"):
        grid_coordinates((2, 2, 2))
    with pytest.raises(RotaryError, match="6 registers"):
        border_coordinates(6)
    with pytest.raises(RotaryError, match="heads of 6"):
        frequencies(6)
