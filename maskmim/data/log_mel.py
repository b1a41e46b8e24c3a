"""Log-mel spectrograms as Kaldi computes them, in numpy."""

from __future__ import annotations

import functools

import numpy as np

from maskmim.data.sound import RATE

PREEMPHASIS = 0.97
# What energies are raised to before the logarithm: the smallest step of float32 at 1.
FLOOR = np.finfo(np.float32).eps


def frame_samples(rate: int) -> tuple[int, int]:
    """Samples of a frame of 25 ms and of the step of 10 ms from one frame to the next."""
    return int(rate * 0.025), int(rate * 0.010)


def log_mel(samples: np.ndarray, *, rate: int = RATE, bands: int = 128) -> np.ndarray:
    """Logarithms of the energies in mel bands: f32[n] -> f32[frames, bands].

    Frames of 25 ms every 10 ms that lie wholly inside, none for a recording shorter than one. Of
    each frame the mean is subtracted, then 0.97 times the sample before (pre-emphasis); a symmetric
    Hann window, zeros up to a power of two, the power spectrum, triangles between 20 Hz and half
    the rate, natural logarithm of at least FLOOR. Narrow low bands can lie between two frequencies
    of the transform; they hold the floor (with 128 bands at 16 kHz one does).
    samples: full scale is 1 (in Kaldi 32768, which would add 20.8).
    Source: torchaudio.compliance.kaldi.fbank with htk_compat, window_type='hanning', use_energy
    False, dither 0, as dataset.py of facebookresearch/AudioMAE calls it. The mean of the whole
    recording, subtracted there first, is gone with the mean of each frame.
    """
    length, hop = frame_samples(rate)
    if len(samples) < length:
        return np.zeros((0, bands), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::hop].astype(np.float32)
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    window = np.hanning(length).astype(np.float32)
    points = 1 << (length - 1).bit_length()
    spectrum = np.fft.rfft((frames - np.float32(PREEMPHASIS) * before) * window, n=points)
    power = spectrum.real**2 + spectrum.imag**2
    return np.log(np.maximum(power @ mel_triangles(rate, points, bands), FLOOR)).astype(np.float32)


@functools.cache
def mel_triangles(rate: int, points: int, bands: int, low: float = 20.0) -> np.ndarray:
    """Weights f32[points / 2 + 1, bands]: triangles of height 1, linear in mel, half overlapping.

    The last frequency, half the rate, belongs to no band.
    Source: get_mel_banks of torchaudio.compliance.kaldi.
    """
    edges = np.linspace(mel(low), mel(rate / 2), bands + 2)
    places = mel(np.arange(points // 2) * rate / points)[:, None]
    rise = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rise, fall))
    return np.pad(weights, ((0, 1), (0, 0))).astype(np.float32)


def mel(frequency: np.ndarray | float) -> np.ndarray | float:
    """Hertz to mel."""
    return 1127.0 * np.log1p(np.asarray(frequency) / 700.0)
