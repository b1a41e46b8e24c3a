"""Mel spectrograms equal those of transformers, and stretches are of standardised recordings."""

import numpy as np
import pytest
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from maskmim.data.mel_spectrogram import (
    EPSILON,
    centre_standardised_stretch,
    log_mel_energies,
    random_standardised_stretch,
)
from maskmim.data.records import BadImage
from maskmim.data.sound import Sound

SAMPLES = np.random.default_rng(0).standard_normal(8000).astype(np.float32)


@pytest.mark.proves(128, "log-mel energies equal an independent implementation's")
@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_equals_transformers(rate):
    length, hop = rate // 40, rate // 100
    filters = mel_filter_bank(
        num_frequency_bins=length // 2 + 1,
        num_mel_filters=20,
        min_frequency=50.0,
        max_frequency=min(8000.0, rate / 2),
        sampling_rate=rate,
        norm=None,
        mel_scale="htk",
    )
    energies = spectrogram(
        SAMPLES.astype(np.float64),
        window_function(length, "hann", periodic=True),
        frame_length=length,
        hop_length=hop,
        power=2.0,
        center=True,
        pad_mode="reflect",
        mel_filters=filters,
        mel_floor=0.0,
    )
    found = log_mel_energies(SAMPLES, rate=rate, bands=20)
    assert found.dtype == np.float32 and found.shape == energies.T.shape
    np.testing.assert_allclose(found, np.log(energies.T + EPSILON), atol=1e-4)


def test_a_stretch_is_a_part_of_the_standardised_recording():
    sound = Sound(SAMPLES, 16_000)
    whole = log_mel_energies(SAMPLES, bands=16).astype(np.float64)
    whole = (whole - whole.mean()) / whole.std()
    starts = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        part = random_standardised_stretch(rng, sound, (30, 16))[..., 0]
        off = [np.abs(whole[n : n + 30] - part).max() for n in range(len(whole) - 29)]
        assert min(off) < 1e-4
        starts.add(int(np.argmin(off)))
    assert len(whole) == 51 and len(starts) > 5
    centre = centre_standardised_stretch(None, sound, (30, 16))
    np.testing.assert_allclose(centre[..., 0], whole[10:40], atol=1e-4)


def test_short_recordings_are_followed_by_zeros():
    sound = Sound(SAMPLES[:1600], 16_000)
    for brick in (random_standardised_stretch, centre_standardised_stretch):
        made = brick(np.random.default_rng(0), sound, (30, 16))
        assert made.shape == (30, 16, 1) and made.dtype == np.float32
        assert np.all(made[11:] == 0) and np.all(np.any(made[:11] != 0, axis=1))
        assert abs(made[:11].mean()) < 1e-4 and abs(made[:11].std() - 1) < 1e-3
    with pytest.raises(BadImage, match="too few"):
        log_mel_energies(SAMPLES[:200])
