"""Mixtures: each place is visible once in a group of examples."""

import jax
import numpy as np
import pytest

from maskmim.masks.core import MaskError
from maskmim.masks.mixtures import partition
from maskmim.types import Context, Randomness, random_key


def drawn(examples, sources, grid=(4, 4), slots=None, seed=0):
    randomness = Randomness.of(random_key(seed), examples)
    if slots is not None:
        randomness = randomness._replace(slots=np.asarray(slots, np.uint32))
    mask = partition(randomness, Context({}, {"image": grid}, {}), sources=sources)
    return jax.tree.map(np.asarray, mask)


@pytest.mark.proves(20, "each place shows one picture of a group, and each picture equally often")
@pytest.mark.parametrize(("sources", "grid"), [(4, (4, 4)), (2, (3, 4)), (3, (3, 3))])
def test_places_are_divided_among_the_sources(sources, grid):
    mask = drawn(6 * sources, sources, grid)
    length = grid[0] * grid[1]
    groups = mask.visible.reshape(6, -1)
    np.testing.assert_array_equal(np.sort(groups, axis=1), np.tile(np.arange(length), (6, 1)))
    assert mask.visible.shape == (6 * sources, length // sources)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([mask.visible, mask.predict], axis=1)),
        np.tile(np.arange(length), (6 * sources, 1)),
    )
    assert len(np.unique(groups, axis=0)) == 6
    hidden = np.ones(mask.hidden.shape, bool)
    np.put_along_axis(hidden, mask.visible, False, axis=1)
    np.testing.assert_array_equal(mask.hidden, hidden)


def test_a_place_shows_every_source_equally_often():
    mask = drawn(4 * 2000, 4)
    shown = ~mask.hidden.reshape(2000, 4, 16)
    assert abs(shown.mean(axis=0) - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 2000)


def test_a_group_depends_on_its_first_slot():
    whole, part = drawn(12, 4), drawn(4, 4, slots=range(8, 12))
    for all_groups, one in zip(jax.tree.leaves(whole), jax.tree.leaves(part), strict=True):
        np.testing.assert_array_equal(all_groups[8:], one)


@pytest.mark.parametrize(
    ("examples", "sources", "words"),
    [
        (6, 4, "6 examples do not divide into groups of 4"),
        (6, 3, "16 tokens do not divide among 3 sources"),
    ],
)
def test_what_does_not_divide_is_refused(examples, sources, words):
    with pytest.raises(MaskError, match=words):
        drawn(examples, sources)
