"""Synthetic sounds have the properties of their kinds."""

import numpy as np
import pytest

from maskmim.data.log_mel import log_mel
from maskmim.data.records import DataError, Records
from maskmim.data.tones import KINDS, tones


def energies(index):
    samples, rate = tones(count=40)[index].encoded
    return log_mel(samples, rate=rate, bands=64)


def ridge(index):
    """The loudest band of each frame."""
    return energies(index).argmax(axis=1)


def test_records():
    found = tones(count=9, seconds=0.3)
    assert isinstance(found, Records) and len(found) == 9
    assert found.labels == {"kind": tuple(KINDS)}
    assert [found[i].labels["kind"] for i in range(9)] == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert found.name(5) == "falling[5]"
    for example in map(found.__getitem__, range(9)):
        samples, rate = example.encoded
        assert samples.shape == (4800,) and samples.dtype == np.float32 and rate == 16_000
        assert 0.01 < np.abs(samples).max() <= 1
    with pytest.raises(IndexError):
        found[9]


def test_sounds_depend_on_seed_and_index_alone():
    one, same, other = tones(count=4), tones(count=40), tones(count=4, seed=1)
    np.testing.assert_array_equal(one[3].encoded.samples, same[3].encoded.samples)
    assert not np.array_equal(one[3].encoded.samples, other[3].encoded.samples)
    assert len({one.fingerprint, same.fingerprint, other.fingerprint}) == 3


@pytest.mark.parametrize("index", range(0, 40, 4))
def test_rising_rises_and_falling_falls(index):
    assert np.all(np.diff(ridge(index)) >= -1) and np.ptp(ridge(index)) >= 8
    assert np.all(np.diff(ridge(index + 1)) <= 1) and np.ptp(ridge(index + 1)) >= 8


@pytest.mark.parametrize("index", range(2, 40, 4))
def test_notes_are_steady_and_bursts_die_away(index):
    note, bursts = energies(index), energies(index + 1)
    loudness = note.max(axis=1), bursts.mean(axis=1)
    assert np.ptp(loudness[0]) < 2 < np.ptp(loudness[1])


def test_too_few_are_refused():
    with pytest.raises(DataError, match="count=0: give a number of sounds of at least 1"):
        tones(count=0)


@pytest.mark.parametrize("seconds", [1e-9, 0.0, 1e30])
def test_lengths_of_no_sound_are_refused(seconds):
    with pytest.raises(DataError, match=r"seconds=.*give a number between 0\.1 and 600"):
        tones(seconds=seconds)
