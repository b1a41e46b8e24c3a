"""Synthetic sounds have the properties of their kinds."""

import numpy as np
import pytest

from maskmim.data.log_mel import log_mel
from maskmim.data.records import DataError, Records
from maskmim.data.tones import KINDS, tones


def ridge(index):
    """The loudest band of each frame."""
    return log_mel(tones(count=40)[index].encoded, bands=64).argmax(axis=1)


def test_records():
    found = tones(count=9, seconds=0.3)
    assert isinstance(found, Records) and len(found) == 9
    assert found.labels == {"kind": tuple(KINDS)}
    assert [found[i].labels["kind"] for i in range(9)] == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert found.name(5) == "falling[5]"
    for example in map(found.__getitem__, range(9)):
        assert example.encoded.shape == (4800,) and example.encoded.dtype == np.float32
        assert 0.01 < np.abs(example.encoded).max() <= 1
    with pytest.raises(IndexError):
        found[9]


def test_sounds_depend_on_seed_and_index_alone():
    one, same, other = tones(count=4), tones(count=40), tones(count=4, seed=1)
    np.testing.assert_array_equal(one[3].encoded, same[3].encoded)
    assert not np.array_equal(one[3].encoded, other[3].encoded)
    assert len({one.fingerprint, same.fingerprint, other.fingerprint}) == 3


@pytest.mark.parametrize("index", range(0, 40, 4))
def test_rising_rises_and_falling_falls(index):
    assert np.all(np.diff(ridge(index)) >= -1) and np.ptp(ridge(index)) >= 8
    assert np.all(np.diff(ridge(index + 1)) <= 1) and np.ptp(ridge(index + 1)) >= 8


@pytest.mark.parametrize("index", range(2, 40, 4))
def test_notes_are_steady_and_bursts_die_away(index):
    note = log_mel(tones(count=40)[index].encoded, bands=64)
    bursts = log_mel(tones(count=40)[index + 1].encoded, bands=64)
    loudness = note.max(axis=1), bursts.mean(axis=1)
    assert np.ptp(loudness[0]) < 2 < np.ptp(loudness[1])


def test_too_few_are_refused():
    with pytest.raises(DataError, match="0 sounds"):
        tones(count=0)
