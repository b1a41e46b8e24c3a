"""Augmentations of recordings to log-mel spectrograms of fixed size.

Every brick is `(rng, sound, *, size, ...) -> f32[time, mel, 1]` with a `Sound` as
`maskmim.data.sound.waveform` returns it, at any rate. Values are not normalised here, but with
`input.mean` and `input.std` of log energies. Frames after the end of the recording are 0, which is
a loud sound; the official code, too, pads with zeros before the normalisation.
"""

from __future__ import annotations

import numpy as np

from maskmim.config.ranges import NonNegative
from maskmim.data.log_mel import frame_samples, log_mel
from maskmim.data.records import DataError
from maskmim.data.sound import Sound


def random_stretch(
    rng: np.random.Generator,
    sound: Sound,
    size: tuple[int, int],
    *,
    loudness: NonNegative = 10.0,
) -> np.ndarray:
    """Return a random stretch of the recording, at a random loudness.

    size:     (time frames of 10 ms, mel bands). A shorter recording is taken in full and padded
              with frames of 0.
    loudness: a, for a factor of the amplitude drawn from Beta(a, a) + 0.5, about 0.85 to 1.15 for
              10; 0 leaves the amplitude unchanged.
    Source: AudiosetDataset of dataset.py, facebookresearch/AudioMAE.
    Differences: the official code takes the first 1024 frames, of recordings that are hardly
    longer. It also means to roll the recording, but always rolls it by 0 (its issue 26).
    """
    samples, rate = checked(sound)
    spare = len(samples) - sample_count(size[0], rate)
    if spare > 0:
        samples = samples[int(rng.integers(0, spare + 1)) :]
    if loudness:
        samples = samples * np.float32(rng.beta(loudness, loudness) + 0.5)
    return first_stretch(rng, Sound(samples, rate), size)


def first_stretch(rng: np.random.Generator, sound: Sound, size: tuple[int, int]) -> np.ndarray:
    """Return the start of the recording, for evaluation; `size` as of `random_stretch`."""
    samples, rate = checked(sound)
    frames, bands = size
    energies = log_mel(samples[: sample_count(frames, rate)], rate=rate, bands=bands)
    return np.pad(energies, ((0, frames - len(energies)), (0, 0)))[..., None]


def checked(sound: Sound) -> Sound:
    """Return a recording; raise DataError for anything else."""
    if isinstance(sound, Sound):
        return sound
    raise DataError(
        f"a spectrogram is made of a maskmim.data.sound.Sound, which knows its rate, and not of "
        f"{type(sound).__name__}: set data.decode to maskmim.data.sound.waveform"
    )


def sample_count(frames: int, rate: int) -> int:
    """Return the number of samples that some frames span."""
    length, hop = frame_samples(rate)
    return length + (frames - 1) * hop
