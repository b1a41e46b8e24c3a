"""Kaldi's log-mel spectrograms in numpy."""

from __future__ import annotations

import functools

import numpy as np

from maskmim.data.sound import RATE

PREEMPHASIS = 0.97
# The least energy before the logarithm: the smallest step of float32 at 1.
FLOOR = np.finfo(np.float32).eps


def frame_samples(rate: int) -> tuple[int, int]:
    """Return the samples of a frame of 25 ms and of the hop of 10 ms."""
    return int(rate * 0.025), int(rate * 0.010)


def log_mel(samples: np.ndarray, *, rate: int = RATE, bands: int = 128) -> np.ndarray:
    """Return the logarithms of the energies in mel bands: f32[n] -> f32[frames, bands].

    Takes the complete frames of 25 ms every 10 ms, none for a recording shorter than one frame.
    From each frame subtracts the mean, then 0.97 times the previous sample (pre-emphasis); applies
    a symmetric Hann window, zero padding to a power of two, the power spectrum, triangles between
    20 Hz and half the rate, and the natural logarithm of at least FLOOR. A narrow low band can lie
    between two frequencies of the transform; it then holds the floor (with 128 bands at 16 kHz one
    does).
    samples: full scale is 1 (in Kaldi 32768, which would add 20.8).
    Source: torchaudio.compliance.kaldi.fbank with htk_compat, window_type='hanning', use_energy
    False, dither 0, as dataset.py of facebookresearch/AudioMAE calls it. The official code first
    subtracts the mean of the whole recording, which subtracting the mean of each frame makes
    redundant.
    """
    length, hop = frame_samples(rate)
    if len(samples) < length:
        return np.zeros((0, bands), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::hop].astype(np.float32)
    frames = frames - frames.mean(axis=1, keepdims=True)
    previous = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    window = np.hanning(length).astype(np.float32)
    points = 1 << (length - 1).bit_length()
    spectrum = np.fft.rfft((frames - np.float32(PREEMPHASIS) * previous) * window, n=points)
    power = spectrum.real**2 + spectrum.imag**2
    return np.log(np.maximum(power @ mel_triangles(rate, points, bands), FLOOR)).astype(np.float32)


@functools.cache
def mel_triangles(rate: int, points: int, bands: int, low: float = 20.0) -> np.ndarray:
    """Return the weights f32[points / 2 + 1, bands] of triangular bands.

    The triangles have height 1, are linear in mel and overlap by half. The last frequency, half the
    rate, belongs to no band.
    Source: get_mel_banks of torchaudio.compliance.kaldi.
    """
    edges = np.linspace(hertz_to_mel(low), hertz_to_mel(rate / 2), bands + 2)
    mels = hertz_to_mel(np.arange(points // 2) * rate / points)[:, None]
    rise = (mels - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - mels) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rise, fall))
    return np.pad(weights, ((0, 1), (0, 0))).astype(np.float32)


def hertz_to_mel(frequency: np.ndarray | float) -> np.ndarray | float:
    """Convert hertz to mel."""
    return 1127.0 * np.log1p(np.asarray(frequency) / 700.0)
