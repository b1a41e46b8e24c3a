"""Synthetic clips with sound: an object moves, and the pitch of a tone is its height.

They need no file from outside the package: the clips are those of `sprites`, over a photograph that
is darkened, so that where the object is decides what is bright. They serve tests and trials of
methods on video and sound, and results on them do not carry over to real videos.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from maskmim.config.ranges import Fraction, Limits, PositiveInt, Seed
from maskmim.data.records import Example, manifest_digest
from maskmim.data.scenes import Side
from maskmim.data.sound import RATE, Sound
from maskmim.data.sprites import Frames, SpriteRecords, sprites
from maskmim.data.tones import NOISE, Seconds

Hertz = Annotated[float, Limits(20.0, 8_000.0)]
_LOUDNESS = 0.3  # of the tone; full scale is 1


class SoundingSprites:
    """Clips of `sprites` with their sounds, the same at every reading; see `sounding_sprites`."""

    def __init__(
        self,
        clips: SpriteRecords,
        *,
        seconds: float,
        pitches: tuple[float, float],
        behind: float,
        seed: int,
    ):
        self.labels = clips.labels
        title = f"sounding {clips.fingerprint}, {seconds}, {pitches}, {behind} at {RATE}"
        self.fingerprint = manifest_digest([(title, len(clips))])
        self._clips, self._behind, self._pitches = clips, behind, tuple(pitches)
        self._samples, self._seed = round(seconds * RATE), seed

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> Example:
        clip, labels, fields, _ = self._clips[index]
        there = fields["object"]
        darkened = np.rint(clip * np.float32(self._behind)).astype(np.uint8)
        clip = np.where(there == 1, clip, darkened)
        rng = np.random.default_rng([self._seed, index])
        samples = tone(heights(there), self._samples, self._pitches)
        samples = samples + NOISE * rng.normal(size=len(samples))
        sound = Sound(samples.astype(np.float32), RATE)
        return Example({"video": clip, "audio": sound}, labels, fields)

    def name(self, index: int) -> str:
        """Return the number of a clip."""
        return f"sounding {self._clips.name(index)}"


def sounding_sprites(
    *,
    split: str,
    count: PositiveInt = 512,
    frames: Frames = 16,
    size: tuple[Side, Side] = (64, 64),
    seconds: Seconds = 1.0,
    pitches: tuple[Hertz, Hertz] = (300.0, 3_000.0),
    behind: Fraction = 0.3,
    seed: Seed = 0,
) -> SoundingSprites:
    """Return clips of an object that moves over a dark photograph, with a tone of its height.

    split, count, frames, size, seed: as of `sprites.sprites`, whose fields and labels they have.
    seconds: of a clip and of its sound, whatever the number of frames.
    pitches: hertz at the lower and at the upper border of the frame; between them heights are
             proportional to the logarithm of the pitch.
    behind:  factor of the photograph behind the object.

    An example holds 'video' u8[T, H, W, 3] and 'audio', a `Sound` of one steady loudness over faint
    white noise, at 16 kHz. The pitch follows `heights` without a step. Its column is not heard.
    All numbers are ours.
    """
    clips = sprites(split=split, count=count, frames=frames, size=size, seed=seed)
    options = {"seconds": seconds, "pitches": pitches, "behind": behind, "seed": seed}
    return SoundingSprites(clips, **options)


def heights(there: np.ndarray) -> np.ndarray:
    """Return the height of an object in each frame, f64[T]: 0 at the lower border, 1 at the upper.

    there: u8[T, H, W, 1] 1 where it is. The height is that of the middle of the pixels that are
    seen.
    """
    rows = there.astype(np.float64).sum(axis=(2, 3))
    places = np.arange(rows.shape[1]) + 0.5
    return 1 - rows @ places / rows.sum(axis=1) / rows.shape[1]


def tone(levels: np.ndarray, samples: int, pitches: tuple[float, float]) -> np.ndarray:
    """Return a tone f64[samples] at 16 kHz whose pitch follows the levels.

    levels: f64[T] in [0, 1] at the middles of T equal parts of the time; between them the logarithm
    of the pitch is interpolated. pitches: hertz at 0 and at 1.
    """
    middles = (np.arange(len(levels)) + 0.5) * samples / len(levels)
    at_samples = np.interp(np.arange(samples), middles, levels)
    low, high = np.log(pitches)
    frequency = np.exp(low + (high - low) * at_samples)
    return _LOUDNESS * np.sin(2 * np.pi * np.cumsum(frequency) / RATE)
