"""Spectrograms of fixed size: crops, padding and loudness."""

import numpy as np
import pytest

from maskmim.data.log_mel import log_mel
from maskmim.data.records import DataError
from maskmim.data.sound import Sound
from maskmim.data.spectrograms import first_stretch, random_stretch, sample_count

SIZE = (20, 32)


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(size=samples).astype(np.float32)


def stretch(samples, seed=0, **keywords):
    sound = Sound(samples, 16_000)
    return random_stretch(np.random.default_rng(seed), sound, size=SIZE, **keywords)


def start(samples, rate=16_000):
    return first_stretch(np.random.default_rng(0), Sound(samples, rate), size=SIZE)


def test_the_beginning_is_taken_for_evaluation():
    samples = noise(16_000)
    found = start(samples)
    assert found.shape == (*SIZE, 1) and found.dtype == np.float32
    np.testing.assert_allclose(found[..., 0], log_mel(samples, bands=32)[:20], atol=1e-5)


def test_what_is_missing_is_0_behind():
    samples = noise(sample_count(12, 16_000))
    for found in (stretch(samples, loudness=0.0), start(samples)):
        np.testing.assert_allclose(found[:12, :, 0], log_mel(samples, bands=32), atol=1e-5)
        assert np.all(found[12:] == 0) and np.all(found[:12] != 0)


def test_a_random_stretch_is_one_of_the_recording():
    samples = noise(8_000)
    starts = []
    for seed in range(40):
        found = stretch(samples, seed, loudness=0.0)[..., 0]
        start = int(np.random.default_rng(seed).integers(0, 8_000 - sample_count(20, 16_000) + 1))
        wanted = log_mel(samples[start : start + sample_count(20, 16_000)], bands=32)
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        starts.append(start)
    assert min(starts) < 1000 and max(starts) > 3500


def test_a_recording_of_just_the_length_is_taken_whole():
    samples = noise(sample_count(20, 16_000))
    found = stretch(samples, loudness=0.0)[..., 0]
    np.testing.assert_allclose(found, log_mel(samples, bands=32), atol=1e-5)


def test_loudness_moves_all_energies_alike():
    samples = noise(sample_count(20, 16_000))
    moves = []
    for seed in range(200):
        change = stretch(samples, seed) - stretch(samples, seed, loudness=0.0)
        assert np.ptp(change) < 1e-3
        moves.append(np.exp(change.mean() / 2))
    assert 0.5 < min(moves) < 0.85 and 1.15 < max(moves) < 1.5
    assert abs(np.mean(moves) - 1) < 0.03 and abs(np.std(moves) - 0.109) < 0.02


def test_equal_generators_give_equal_stretches():
    samples = noise(8_000)
    np.testing.assert_array_equal(stretch(samples, 3), stretch(samples, 3))
    assert not np.array_equal(stretch(samples, 3), stretch(samples, 4))


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_the_rate_is_that_of_the_sound(rate):
    samples = noise(rate)
    expected = log_mel(samples, rate=rate, bands=32)[:20]
    np.testing.assert_allclose(start(samples, rate)[..., 0], expected, atol=1e-5)
    sound = Sound(samples[: sample_count(20, rate)], rate)
    found = random_stretch(np.random.default_rng(0), sound, size=SIZE, loudness=0.0)
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-5)


def test_samples_without_a_rate_are_refused():
    for brick in (random_stretch, first_stretch):
        with pytest.raises(
            DataError, match=r"knows its rate, and not of ndarray: set data\.decode"
        ):
            brick(np.random.default_rng(0), noise(16_000), size=SIZE)
