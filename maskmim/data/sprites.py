"""Synthetic clips: a cut-out of an embedded photograph moves over another, with exact flow.

They need no file from outside the package. The camera stands still and one object moves along a
straight line at constant speed; its outline is a random smooth shape that follows nothing in its
photograph. They serve tests and trials, and results on them do not carry over to real videos.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import numpy as np

from maskmim.config.ranges import Band, Limits, PositiveInt, Seed
from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.data.records import DataError, Example, Records, manifest_digest
from maskmim.data.resize import resize_to_cover
from maskmim.data.scenes import Side
from maskmim.data.smooth_shapes import opacity, random_outline

# Directions in steps of 45 degrees, clockwise from the right.
MOTIONS = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")
Frames = Annotated[int, Limits(2, 10_000)]
_CHANNELS = 3
# Limits of the object's centre, as shares of height and width.
_CENTRE = (0.15, 0.85)
# Limits of the way of its centre and of its largest diameter, as shares of the shorter side.
_TRAVEL = (0.3, 0.6)
_DIAMETER = (0.3, 0.5)
# Largest difference, in degrees, between a direction and the one that names it.
_DEVIATION = 15.0


class Sprite(NamedTuple):
    """An object to be pasted: its pixels u8[n, n, 3] and which of them are its own bool[n, n]."""

    pixels: np.ndarray
    inside: np.ndarray


class SpriteRecords:
    """Clips of an object that moves over a photograph, the same at every reading; see `sprites`.

    photographs: records with pictures, whose label sets are those of the object.
    """

    def __init__(
        self,
        photographs: Records,
        *,
        count: int,
        frames: int,
        size: tuple[int, int],
        diameter: tuple[float, float],
        seed: int,
    ):
        self.labels = {**photographs.labels, "motion": MOTIONS}
        title = f"sprites of {photographs.fingerprint}, {frames}, {size}, {diameter}, {seed}"
        self.fingerprint = manifest_digest([(title, count)])
        self._photographs, self._count, self._frames = photographs, count, frames
        self._size, self._diameter = tuple(size), tuple(diameter)
        # Sprites of other photographs must have other outlines and ways, too.
        self._seed = int(photographs.fingerprint[:15], 16), seed

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self._count:
            raise IndexError(f"record {index} of {self._count}")
        rng = np.random.default_rng([*self._seed, index])
        behind, shown = (int(rng.integers(len(self._photographs))) for _ in range(2))
        motion = int(rng.integers(len(MOTIONS)))
        places = random_way(rng, self._size, motion, self._frames + 1)
        sprite = self._sprite(rng, shown)
        still = resize_to_cover(self._picture(behind), self._size)
        arrays = moving(still, sprite, places)
        clip = arrays.pop("video")
        return Example(clip, {**self._photographs[shown].labels, "motion": motion}, arrays)

    def name(self, index: int) -> str:
        """Return the number of a clip."""
        return f"sprite {index}"

    def _picture(self, photograph: int) -> np.ndarray:
        return decode(self._photographs[photograph].encoded, channels=_CHANNELS)

    def _sprite(self, rng: np.random.Generator, photograph: int) -> Sprite:
        """Draw the size and the outline of an object, and cut it out of a photograph."""
        radius = 0.5 * min(self._size) * rng.uniform(*self._diameter)
        side = 2 * int(np.ceil(radius)) + 1
        cover = opacity(random_outline(rng), (side, side), (side / 2, side / 2), radius)
        return Sprite(resize_to_cover(self._picture(photograph), (side, side)), cover >= 0.5)


def sprites(
    *,
    split: str,
    count: PositiveInt = 512,
    frames: Frames = 16,
    size: tuple[Side, Side] = (64, 64),
    diameter: Band = _DIAMETER,
    seed: Seed = 0,
) -> SpriteRecords:
    """Return clips of an object that moves over a photograph, with its flow and its mask.

    split:    of the photographs, as in `grocery.grocery`: clips of 'train' and of 'test' share no
              photograph, outline or way. count: number of clips.
    frames:   of a clip, which takes the same time whatever their number: the more, the slower.
    size:     (height, width) of a frame. diameter: limits of the object's largest, as shares of
              the shorter side.
    seed:     other seeds make other clips of the same photographs.

    An example holds the clip u8[T, H, W, 3], and as fields:
      flow    f32[T, H, W, 2] (right, down) in pixels, as `joint_crop` has it: what frame t shows at
              (row, column) stands in frame t + 1 at (row + down, column + right). Whole numbers, 0
              outside the object; the last frame's leads to the frame that would follow.
      object  u8[T, H, W, 1] 1 where the object is
    A pixel is the object's or the photograph's, never a mixture, so that the flow is exact: frame
    t + 1 repeats the values of frame t, but where the object now hides the photograph or no longer
    does, and where it crosses the border. Its centre stays inside the frame.
    Label sets: 'motion', the nearest of eight directions (MOTIONS); those of the object's
    photograph, 'fine' and 'coarse'.
    Clip i depends on the photographs, the keywords and i alone. All numbers are ours.
    Declare the arrays that you use, as `config.input.fields.flow`, take every frame
    (`clips.centre_clip` with stride 1), and augment by `as_made`.
    """
    options = {"frames": frames, "size": size, "diameter": diameter, "seed": seed}
    return SpriteRecords(grocery(split=split), count=count, **options)


def as_made(
    rng: np.random.Generator,
    arrays: np.ndarray | Mapping[str, np.ndarray],
    size: tuple[int, ...] | Mapping[str, tuple[int, ...]],
) -> np.ndarray | dict[str, np.ndarray]:
    """Return the arrays of an example as they are, for sources that make them in their final size.

    Raises DataError where one of the sizes is another.
    """
    if not isinstance(arrays, Mapping):
        return as_made(rng, {"the clip": arrays}, {"the clip": size})["the clip"]
    for name, wanted in size.items():
        if name in arrays and arrays[name].shape[: len(wanted)] != tuple(wanted):
            raise DataError(
                f"{name} has the shape {arrays[name].shape}, but {tuple(wanted)} is declared: give "
                "the source (data.train, evals) the frames and the size of input"
            )
    return dict(arrays)


def random_way(
    rng: np.random.Generator, size: tuple[int, int], motion: int, count: int
) -> np.ndarray:
    """Draw a straight way: int[count, 2] (row, column) of an object's centre at each time.

    motion: index of MOTIONS. Places are rounded to whole pixels.
    """
    angle = np.deg2rad(45.0 * motion + rng.uniform(-_DEVIATION, _DEVIATION))
    length = min(size) * rng.uniform(*_TRAVEL)
    way = length * np.array([np.sin(angle), np.cos(angle)])
    low, high = (share * np.array(size) for share in _CENTRE)
    middle = rng.uniform(low + abs(way) / 2, high - abs(way) / 2)
    shares = np.linspace(-0.5, 0.5, count)[:, None]
    return np.rint(middle + shares * way).astype(np.int64)


def moving(still: np.ndarray, sprite: Sprite, places: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of a clip, see `sprites`: {'video', 'flow', 'object'}.

    still: u8[H, W, 3] the photograph behind. places: int[T + 1, 2] of the object's centre.
    """
    steps = np.diff(places, axis=0)
    clip = np.repeat(still[None], len(steps), axis=0)
    flow = np.zeros((*clip.shape[:3], 2), np.float32)
    there = np.zeros((*clip.shape[:3], 1), np.uint8)
    for frame, (place, step) in enumerate(zip(places[:-1], steps, strict=True)):
        rows, columns, part = _overlap(still.shape[:2], sprite.inside.shape[0], place)
        inside = sprite.inside[part]
        clip[frame, rows, columns][inside] = sprite.pixels[part][inside]
        flow[frame, rows, columns][inside] = step[::-1]
        there[frame, rows, columns][inside] = 1
    return {"video": clip, "flow": flow, "object": there}


def _overlap(
    size: tuple[int, int], side: int, centre: np.ndarray
) -> tuple[slice, slice, tuple[slice, slice]]:
    """Return rows and columns of a frame that a square covers, and the part of it that does."""
    starts = [int(at) - side // 2 for at in centre]
    inside = [
        slice(max(start, 0), min(start + side, length))
        for start, length in zip(starts, size, strict=True)
    ]
    rows, columns = inside
    part = tuple(
        slice(one.start - start, one.stop - start)
        for one, start in zip(inside, starts, strict=True)
    )
    return rows, columns, part
