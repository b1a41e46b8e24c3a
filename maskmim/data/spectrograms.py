"""What is done to a waveform before it enters a batch: a log-mel spectrogram of fixed size.

Every brick is `(rng, samples, *, size, ...) -> f32[time, mel, 1]` with samples f32[n] as
`maskmim.data.sound.waveform` gives them. Values are not normalised here: that is `input.mean` and
`input.std`, of log energies. A frame that the recording lacks is 0, which is a loud sound, as in
the official code, where zeros are added before the normalisation.
"""

from __future__ import annotations

import numpy as np

from maskmim.data.log_mel import frame_samples, log_mel
from maskmim.data.sound import RATE


def random_stretch(
    rng: np.random.Generator,
    samples: np.ndarray,
    size: tuple[int, int],
    *,
    rate: int = RATE,
    loudness: float = 10.0,
) -> np.ndarray:
    """A random stretch of the recording, at a random loudness.

    size:     (time frames of 10 ms, mel bands). A recording that is shorter is taken whole, and
              frames of 0 follow it.
    loudness: a, for a factor of the amplitude drawn from Beta(a, a) + 0.5, about 0.85 to 1.15 for
              10; 0 leaves it.
    Source: AudiosetDataset of dataset.py, facebookresearch/AudioMAE.
    Differences: there the first 1024 frames are taken, of recordings that are hardly longer. The
    recording is meant to be rolled there too, but the code always rolls it by 0 (its issue 26).
    """
    spare = len(samples) - samples_of(size[0], rate)
    if spare > 0:
        samples = samples[int(rng.integers(0, spare + 1)) :]
    if loudness:
        samples = samples * np.float32(rng.beta(loudness, loudness) + 0.5)
    return first_stretch(rng, samples, size, rate=rate)


def first_stretch(
    rng: np.random.Generator, samples: np.ndarray, size: tuple[int, int], *, rate: int = RATE
) -> np.ndarray:
    """The beginning of the recording, without randomness, for evaluation; see `random_stretch`."""
    frames, bands = size
    found = log_mel(samples[: samples_of(frames, rate)], rate=rate, bands=bands)
    return np.pad(found, ((0, frames - len(found)), (0, 0)))[..., None]


def samples_of(frames: int, rate: int) -> int:
    """How many samples so many frames span."""
    length, hop = frame_samples(rate)
    return length + (frames - 1) * hop
