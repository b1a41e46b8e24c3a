"""Photographs with parts: a swap changes one part alone; splits share no photograph."""

import numpy as np
import pytest

from maskmim.data.grocery import grocery
from maskmim.data.records import Records
from maskmim.data.swapped_parts import PLACES, swapped_parts

SIDE, COUNT = 48, 24


def examples(**changes):
    return swapped_parts(**{"split": "val", "count": COUNT, "side": SIDE, **changes})


def test_examples_are_the_same_at_every_reading():
    records, again = examples(), examples()
    assert isinstance(records, Records) and len(records) == COUNT
    assert records.labels == {"swapped": ("no", "yes")}
    assert records.fingerprint == again.fingerprint
    for changes in ({"split": "test"}, {"count": 9}, {"seed": 1}, {"swapped": 0.0}, {"side": 32}):
        assert records.fingerprint != examples(**changes).fingerprint
    for name, array in records[3].encoded.items():
        assert array.shape == (SIDE, SIDE, 3 if name == "image" else 1) and array.dtype == np.uint8
        np.testing.assert_array_equal(array, again[3].encoded[name])
    with pytest.raises(IndexError):
        records[COUNT]


def test_a_swap_changes_one_part_and_nothing_else():
    plain, mixed = examples(swapped=0.0), examples(swapped=0.5)
    swapped = []
    for index in range(COUNT):
        (before, parts), (after, same) = (
            (each[index].encoded["image"], each[index].encoded["parts"][..., 0])
            for each in (plain, mixed)
        )
        np.testing.assert_array_equal(parts, same)
        assert set(np.unique(parts)) == set(range(len(PLACES) + 1))
        changed = (before != after).any(-1)
        swapped.append(mixed[index].labels["swapped"])
        assert changed.any() == swapped[-1] and plain[index].labels == {"swapped": 0}
        if swapped[-1]:
            (number,) = set(np.unique(parts[changed])) - {0}
            assert changed[parts == number].mean() > 0.8
            # Outside the part only its soft outline changes.
            assert (changed & (parts == 0)).sum() < changed[parts == number].sum()
    assert 0 < sum(swapped) < COUNT


def test_no_photograph_is_swapped_for_itself_and_splits_share_none():
    everything = examples(swapped=1.0)
    assert all(everything[i].labels["swapped"] for i in range(COUNT))
    names = [{g.name(i) for i in range(len(g))} for g in map(of_split, ("train", "test"))]
    assert not names[0] & names[1]


def of_split(split):
    return grocery(split=split)
