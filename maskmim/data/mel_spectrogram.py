"""Mel spectrograms of centred frames, as torchaudio's MelSpectrogram, and stretches of them."""

from __future__ import annotations

import functools

import numpy as np

from maskmim.data.log_mel import frame_samples, hertz_to_mel
from maskmim.data.records import BadImage
from maskmim.data.sound import RATE, Sound
from maskmim.data.spectrograms import checked

LOW, HIGH = 50.0, 8000.0
# Added to an energy before the logarithm: the smallest step of float32 at 1.
EPSILON = np.finfo(np.float32).eps
# Added to the deviation of a recording.
LEAST = 1e-8


def log_mel_energies(samples: np.ndarray, *, rate: int = RATE, bands: int = 80) -> np.ndarray:
    """Return the logarithms of the energies in mel bands: f32[n] -> f32[frames, bands].

    Frames of 25 ms lie every 10 ms, the first one around the first sample; samples beyond the ends
    are mirrored. From each frame takes a periodic Hann window, the power spectrum without padding,
    triangles of height 1 between 50 Hz and 8 kHz (or half the rate), and the natural logarithm of
    the energy plus EPSILON.
    Raises BadImage for a recording too short to be mirrored.
    Source: LogMelSpec of hear_api/feature_helper.py, SarthakYadav/mwmae-jax-official, which takes
    torchaudio's MelSpectrogram with its default scale (HTK's) and no norm.
    """
    length, hop = frame_samples(rate)
    if len(samples) <= length // 2:
        raise BadImage(f"{len(samples)} samples are too few for a frame of {length}")
    samples = np.pad(samples, length // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::hop]
    window = np.hanning(length + 1)[:-1].astype(np.float32)
    spectrum = np.fft.rfft(frames.astype(np.float32) * window)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    return np.log(power @ triangles(rate, length, bands) + EPSILON).astype(np.float32)


@functools.cache
def triangles(rate: int, points: int, bands: int) -> np.ndarray:
    """Return the weights f32[points // 2 + 1, bands] of bands that are triangular in hertz.

    Their corners are equally far apart in mel.
    """
    edges = np.linspace(hertz_to_mel(LOW), hertz_to_mel(min(HIGH, rate / 2)), bands + 2)
    edges = 700.0 * np.expm1(edges / 1127.0)
    hertz = (np.arange(points // 2 + 1) * rate / points)[:, None]
    rise = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rise, fall)).astype(np.float32)


def random_standardised_stretch(
    rng: np.random.Generator, sound: Sound, size: tuple[int, int]
) -> np.ndarray:
    """Return a random stretch of a standardised recording: f32[time, mel, 1].

    size: (frames of 10 ms, mel bands). The log energies of the whole recording get mean 0 and
    deviation 1 first. A shorter recording is taken in full, and frames of 0 follow.
    Source: parse_tfrecord_specgram of src/data/dataset.py, SarthakYadav/mwmae-jax-official.
    Difference: it has no recordings shorter than the stretch.
    """
    energies = _standardised(sound, size[1])
    spare = len(energies) - size[0]
    return _stretch(energies, int(rng.integers(0, spare + 1)) if spare > 0 else 0, size[0])


def centre_standardised_stretch(
    rng: np.random.Generator, sound: Sound, size: tuple[int, int]
) -> np.ndarray:
    """Return the middle of a standardised recording, for evaluation; as the random stretch."""
    energies = _standardised(sound, size[1])
    return _stretch(energies, max(len(energies) // 2 - size[0] // 2, 0), size[0])


def _standardised(sound: Sound, bands: int) -> np.ndarray:
    samples, rate = checked(sound)
    energies = log_mel_energies(samples, rate=rate, bands=bands)
    return (energies - energies.mean()) / (energies.std() + np.float32(LEAST))


def _stretch(energies: np.ndarray, start: int, frames: int) -> np.ndarray:
    """Return some frames from a start on, with frames of 0 where there are too few."""
    part = energies[start : start + frames]
    return np.pad(part, ((0, frames - len(part)), (0, 0)))[..., None]
