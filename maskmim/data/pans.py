"""Synthetic clips: a camera that pans over or zooms into the embedded photographs.

They need no file from outside the package. Only the camera moves in these clips: they serve tests
and trials, and results on them do not carry over to real videos.
"""

from __future__ import annotations

import numpy as np

from maskmim.config.ranges import PositiveInt
from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.data.records import DataError, Example, Records, manifest_digest
from maskmim.data.resize import resize

MOTIONS = ("left", "right", "up", "down", "in", "out")
_CHANNELS = 3
# Limits of a window's share of the short side, and of the share of the free range that it travels.
_WINDOW = (0.45, 0.65)
_TRAVEL = (0.5, 1.0)

Box = tuple[float, float, float]


class PanRecords:
    """One clip u8[frames, side, side, 3] of each photograph, the same at every reading.

    photographs: records with images. Adds to their label sets 'motion', the motion of the camera,
    one of MOTIONS, drawn for each photograph.
    Raises DataError for fewer than 2 frames.
    """

    def __init__(self, photographs: Records, *, frames: int, side: int):
        if frames < 2:
            raise DataError(f"frames={frames}: give at least 2 frames, as a camera moves in them")
        if side < 1:
            raise DataError(f"side={side}: give a number of pixels of at least 1")
        self.labels = {**photographs.labels, "motion": MOTIONS}
        title = f"pans over {photographs.fingerprint}, {frames} frames"
        self.fingerprint = manifest_digest([(title, side)])
        self._photographs = photographs
        self._frames, self._side = frames, side

    def __len__(self) -> int:
        return len(self._photographs)

    def __getitem__(self, index: int) -> Example:
        example = self._photographs[index]
        photograph = decode(example.encoded, channels=_CHANNELS)
        rng = np.random.default_rng(index)
        motion = int(rng.integers(len(MOTIONS)))
        first, last = random_windows(rng, photograph.shape[:2], MOTIONS[motion])
        shares = np.linspace(0, 1, self._frames)[:, None]
        path = (1 - shares) * np.array(first) + shares * np.array(last)
        clip = np.stack([self._frame(photograph, *window) for window in path])
        return Example(clip, {**example.labels, "motion": motion})

    def name(self, index: int) -> str:
        """Return the name of the photograph."""
        return f"pan over {self._photographs.name(index)}"

    def _frame(self, photograph: np.ndarray, top: float, left: float, side: float) -> np.ndarray:
        box = (left, top, left + side, top + side)
        return resize(photograph, (self._side, self._side), box)


def pans(*, split: str, frames: PositiveInt = 32, side: PositiveInt = 72) -> PanRecords:
    """Return synthetic clips of the embedded photographs: pans in four directions and zooms.

    split: as in `grocery.grocery`. frames: of a video, from which `data.decode` takes clips.
    side: pixels of the square frames. Label sets 'fine' and 'coarse' of the photographs and
    'motion' (6 classes, see MOTIONS; the direction is the camera's).
    """
    return PanRecords(grocery(split=split), frames=frames, side=side)


def random_windows(
    rng: np.random.Generator, shape: tuple[int, int], motion: str
) -> tuple[Box, Box]:
    """Draw the first and the last square window (top, left, side) of a motion.

    shape: (rows, columns) of the photograph.
    """
    short = min(shape)
    side = short * rng.uniform(*_WINDOW)
    if motion in ("in", "out"):
        wide = side + (short - side) * rng.uniform(*_TRAVEL)
        room = np.array(shape) - wide
        corner = rng.uniform(0, 1, 2) * room
        inner = corner + (wide - side) / 2
        near, far = (*inner, side), (*corner, wide)
        return (far, near) if motion == "in" else (near, far)
    axis = 1 if motion in ("left", "right") else 0
    room = np.array(shape) - side
    start = rng.uniform(0, 1, 2) * room
    travel = room[axis] * rng.uniform(*_TRAVEL)
    start[axis] = rng.uniform(0, room[axis] - travel)
    end = start.copy()
    end[axis] += travel
    low, high = (*start, side), (*end, side)
    return (high, low) if motion in ("left", "up") else (low, high)
