"""Synthetic sounds, for tests and demonstrations without files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np

from maskmim.config.ranges import Limits, PositiveInt, Seed
from maskmim.data.records import DataError, Example, class_names, manifest_digest
from maskmim.data.sound import RATE, Sound

Voice = Callable[[np.random.Generator, np.ndarray], np.ndarray]
NOISE = 0.003
SECONDS = Limits(0.1, 600.0)  # Longer ones need gigabytes each.
Seconds = Annotated[float, SECONDS]


def rising(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Return a tone that rises by one to three octaves."""
    return _sweep(rng, times, rng.uniform(1, 3))


def falling(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Return a tone that falls by one to three octaves."""
    return _sweep(rng, times, -rng.uniform(1, 3))


def harmonics(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Return a steady note of 80 to 400 Hz with twelve overtones and slight vibrato."""
    pitch = 80 * 5 ** rng.uniform()
    waver = 0.02 * np.sin(2 * np.pi * rng.uniform(3, 7) * times)
    phase = 2 * np.pi * pitch * np.cumsum(1 + waver) * (times[1] - times[0])
    parts = np.arange(1, 14)[:, None]
    return np.sum(np.sin(parts * phase) / parts, axis=0) / 2


def bursts(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Return decaying bursts of noise at a steady rate of 3 to 8 per second."""
    pace, first = rng.uniform(3, 8), rng.uniform()
    since = ((times * pace + first) % 1) / pace
    return np.exp(-since * rng.uniform(20, 60)) * rng.normal(size=len(times)) / 3


def _sweep(rng: np.random.Generator, times: np.ndarray, octaves: float) -> np.ndarray:
    length = times[-1] + times[1]
    middle = 1200 * 2 ** rng.uniform(-0.8, 0.8)
    frequency = middle * 2 ** (octaves * (times / length - 0.5))
    return np.sin(2 * np.pi * np.cumsum(frequency) * (times[1] - times[0]))


KINDS: dict[str, Voice] = {
    "rising": rising,
    "falling": falling,
    "harmonics": harmonics,
    "bursts": bursts,
}


class ToneRecords:
    """Records of synthetic sounds; sound i depends only on (seed, i), its kind is i mod 4."""

    def __init__(self, count: int, samples: int, seed: int):
        self.labels = class_names({"kind": KINDS})
        self.fingerprint = manifest_digest([(f"tones {seed} at {RATE}", count * samples)])
        self._count, self._seed = count, seed
        self._times = np.arange(samples) / RATE

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self._count:
            raise IndexError(f"record {index} of {self._count}")
        kind = index % len(KINDS)
        rng = np.random.default_rng([self._seed, index])
        sound = list(KINDS.values())[kind](rng, self._times) * rng.uniform(0.05, 0.5)
        sound = sound + NOISE * rng.normal(size=len(sound))
        return Example(Sound(sound.astype(np.float32), RATE), {"kind": kind})

    def name(self, index: int) -> str:
        """Return the kind and the index."""
        return f"{list(KINDS)[index % len(KINDS)]}[{index}]"


def tones(*, count: PositiveInt = 256, seconds: Seconds = 1.0, seed: Seed = 0) -> ToneRecords:
    """Return synthetic sounds of four kinds, over faint white noise; they need no files.

    count: number of sounds. seconds: of each, at 16 kHz, which `data.decode` resamples as it does
    files. seed: another seed gives other sounds, for example for a test set. Label set 'kind': the
    keys of KINDS.
    Raises DataError for fewer than one sound, and for less than 0.1 s or more than 600 s.
    """
    if count < 1:
        raise DataError(f"count={count}: give a number of sounds of at least 1")
    if not SECONDS.allows(seconds):
        raise DataError(f"seconds={seconds}: give {SECONDS.describe('a number')}")
    return ToneRecords(count, round(seconds * RATE), seed)
