"""Decoding of sound files, and the errors for unreadable ones."""

import io

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from maskmim.data.records import BadImage, DataError
from maskmim.data.sound import Sound, resample, waveform

RNG = np.random.default_rng(0)


def tone(rate, seconds=0.5, pitch=440.0):
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(round(rate * seconds)) / rate)).astype("f4")


def encoded(samples, rate, kind="WAV", subtype=None):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "subtype", "error"),
    [("WAV", "PCM_16", 1e-4), ("WAV", "FLOAT", 0.0), ("FLAC", "PCM_24", 1e-6), ("OGG", None, 0.05)],
)
def test_formats(kind, subtype, error):
    samples = tone(16_000)
    found, rate = waveform(RNG, encoded(samples, 16_000, kind, subtype))
    assert rate == 16_000
    assert found.dtype == np.float32 and found.shape == samples.shape
    assert np.abs(found - samples).max() <= error


def test_channels_are_averaged():
    two = np.stack([tone(16_000), np.zeros(8000, np.float32)], axis=1)
    found, _ = waveform(RNG, encoded(two, 16_000, subtype="FLOAT"))
    np.testing.assert_allclose(found, tone(16_000) / 2, atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_other_rates_keep_time_and_pitch(rate):
    found, _ = waveform(RNG, encoded(tone(rate), rate, subtype="FLOAT"))
    assert abs(len(found) - 8000) <= 1
    inner = slice(800, 7200)  # the filter sees silence before the first sample
    np.testing.assert_allclose(found[inner], tone(16_000)[inner], atol=5e-3)


def test_equal_rates_copy_nothing():
    samples = tone(16_000)
    assert resample(samples, 16_000, 16_000) is samples


def test_arrays_pass():
    samples = tone(16_000)
    found = waveform(RNG, samples, rate=8_000)
    assert found.samples is samples and found.rate == 8_000


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 48_000])
def test_sounds_that_know_their_rate_are_resampled(rate):
    found = waveform(RNG, Sound(tone(16_000), 16_000), rate=rate)
    assert found.rate == rate
    expected = resample_poly(tone(16_000).astype(np.float64), rate, 16_000)
    np.testing.assert_allclose(found.samples, expected, atol=1e-5)
    with pytest.raises(BadImage, match="more than the limit"):
        waveform(RNG, Sound(tone(16_000), 16_000), rate=rate, max_samples=2_000)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b"", "empty file"),
        (b"no sound at all", ""),
        (encoded(tone(16_000), 16_000)[:30], ""),
        (encoded(tone(16_000, 0.01), 16_000), "0.010 s are shorter than 0.025 s"),
        (np.zeros(16_000), "float64"),
        (np.zeros((2, 16_000), np.float32), "f32"),
        (np.full(16_000, np.nan, np.float32), "not finite"),
    ],
)
def test_what_cannot_be_read(bad, words):
    with pytest.raises(BadImage) as error:
        waveform(RNG, bad)
    assert words in error.value.reason and error.value.reason


def test_other_channels_are_an_error():
    with pytest.raises(DataError, match=r"input\.channels"):
        waveform(RNG, tone(16_000), channels=3)
