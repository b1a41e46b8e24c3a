"""Decoders from a video to the frames of a clip, for `data.decode` and `evals.decode`.

`random_clip` and `centre_clip` are (rng, encoded, channels, *, frames, stride, ...) ->
u8[frames, H, W, channels]; `spread_frames` takes frames far apart, `middle_frame` one picture.
A clip spans `frames * stride` frames of its video and takes every `stride`-th of them; where the
video ends before, the last frame taken is repeated.
Source: VideoMAE.get_frame_id_list and _sample_train_indices of kinetics.py, MCG-NJU/VideoMAE: 16
frames at stride 4 for Kinetics, 2 for Something-Something. Difference: in a video shorter than the
clip the very last frame can be taken too; the official code never takes it.
"""

from __future__ import annotations

import numpy as np

from maskmim.config.ranges import PositiveInt
from maskmim.data.decode import MAX_PIXELS
from maskmim.data.records import DataError
from maskmim.data.video_files import read_frames


def random_clip(
    rng: np.random.Generator,
    encoded: bytes | np.ndarray,
    channels: PositiveInt = 3,
    *,
    frames: PositiveInt = 16,
    stride: PositiveInt = 4,
    max_pixels: PositiveInt = MAX_PIXELS,
) -> np.ndarray:
    """Return a clip from a random position of the video, for training.

    encoded, channels, max_pixels, what raises: see `video_files.read_frames`.
    """

    def choose(count: int) -> np.ndarray:
        start = int(rng.integers(0, _room(count, frames, stride) + 1))
        return frame_indices(count, start, frames=frames, stride=stride)

    return read_frames(encoded, choose, channels=channels, max_pixels=max_pixels)


def centre_clip(
    rng: np.random.Generator,
    encoded: bytes | np.ndarray,
    channels: PositiveInt = 3,
    *,
    frames: PositiveInt = 16,
    stride: PositiveInt = 4,
    max_pixels: PositiveInt = MAX_PIXELS,
) -> np.ndarray:
    """Return the clip from the middle of a video, for evaluation; keywords as `random_clip`."""

    def choose(count: int) -> np.ndarray:
        start = _room(count, frames, stride) // 2
        return frame_indices(count, start, frames=frames, stride=stride)

    return read_frames(encoded, choose, channels=channels, max_pixels=max_pixels)


def spread_frames(
    rng: np.random.Generator,
    encoded: bytes | np.ndarray,
    channels: PositiveInt = 3,
    *,
    frames: PositiveInt = 2,
    max_pixels: PositiveInt = MAX_PIXELS,
) -> np.ndarray:
    """Return one random frame of each of `frames` equal parts of the video, in their order.

    encoded, channels, max_pixels, what raises: see `video_files.read_frames`; a picture is a video
    of one frame. In a video of fewer frames some are taken twice.
    Source: the sampling of TSN (arXiv 1608.00859).
    """

    def choose(count: int) -> np.ndarray:
        starts = np.arange(frames) * count // frames
        ends = np.maximum(np.arange(1, frames + 1) * count // frames, starts + 1)
        return rng.integers(starts, ends)

    return read_frames(encoded, choose, channels=channels, max_pixels=max_pixels)


def middle_frame(
    rng: np.random.Generator,
    encoded: bytes | np.ndarray,
    channels: PositiveInt = 3,
    *,
    max_pixels: PositiveInt = MAX_PIXELS,
) -> np.ndarray:
    """Return the picture u8[H, W, channels] in the middle of a video, for evaluation.

    encoded, channels, max_pixels, what raises: see `video_files.read_frames`.
    """
    chosen = read_frames(
        encoded, lambda n: np.array([n // 2]), channels=channels, max_pixels=max_pixels
    )
    return chosen[0]


def frame_indices(count: int, start: int, *, frames: int, stride: int) -> np.ndarray:
    """Return the indices of a clip's frames in a video of `count` frames: int[frames], ascending.

    Raises DataError unless frames and stride are at least 1.
    """
    if frames < 1 or stride < 1:
        raise DataError(f"frames {frames} at stride {stride}: both must be 1 or more")
    last = start + (count - 1 - start) // stride * stride
    return np.minimum(start + stride * np.arange(frames), last)


def _room(count: int, frames: int, stride: int) -> int:
    """Return the largest index at which a clip can start."""
    return max(count - frames * stride, 0)
