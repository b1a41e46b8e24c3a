"""Augmentations of clips, the same for all frames of a clip.

Every brick is `(rng, clip, *, size, ...) -> clip`: rng a numpy Generator of this clip alone, clip
u8[frames, H, W, C] with any number of channels, size (frames, h, w), result u8[frames, h, w, C].
All raise DataError where the clip has another number of frames than `size`.
"""

from __future__ import annotations

import numpy as np

from maskmim.config.ranges import Fraction, FractionRange, PositiveFraction, PositiveRange
from maskmim.data.matrix_resize import resize_by_matrices
from maskmim.data.records import DataError
from maskmim.data.transforms import random_crop_box, resize_center_crop

Box = tuple[int, int, int, int]


def multi_scale_crop(
    rng: np.random.Generator,
    clip: np.ndarray,
    size: tuple[int, int, int],
    *,
    scales: tuple[PositiveFraction, ...] = (1.0, 0.875, 0.75, 0.66),
    flip: Fraction = 0.0,
) -> np.ndarray:
    """Crop at one of 13 fixed positions and one of a few scales, and resize.

    scales: of the short side, descending; height and width may be neighbours in this list.
    flip:   probability of mirroring left and right; 0 in the released code, as directions matter.
    Source: GroupMultiScaleCrop of transforms.py, MCG-NJU/VideoMAE. Difference: resizes with
    the bicubic filter, the official code with the bilinear one.
    """
    top, left, height, width = random_multi_scale_box(rng, clip.shape[1:3], size[1:], scales=scales)
    return _flip(rng, _cut_and_resize(clip, size, (top, left, height, width)), flip)


def random_resized_crop_flip(
    rng: np.random.Generator,
    clip: np.ndarray,
    size: tuple[int, int, int],
    *,
    scale: FractionRange = (0.5, 1.0),
    ratio: PositiveRange = (3 / 4, 4 / 3),
    flip: Fraction = 0.5,
) -> np.ndarray:
    """Crop a random part, resize it and mirror it half of the time; keywords as in `transforms`."""
    box = random_crop_box(rng, clip.shape[1:3], scale=scale, ratio=ratio)
    return _flip(rng, _cut_and_resize(clip, size, box), flip)


def centre_crop(
    rng: np.random.Generator,
    clip: np.ndarray,
    size: tuple[int, int, int],
    *,
    crop_fraction: PositiveFraction = 0.875,
) -> np.ndarray:
    """Crop the centre of every frame, without randomness, see `transforms.resize_center_crop`."""
    _check_frames(clip, size)
    cropped = [resize_center_crop(rng, x, size[1:], crop_fraction=crop_fraction) for x in clip]
    return np.stack(cropped)


def random_multi_scale_box(
    rng: np.random.Generator,
    shape: tuple[int, int],
    size: tuple[int, int],
    *,
    scales: tuple[float, ...],
) -> Box:
    """Return a random part of frames (rows, columns): top, left, height, width in pixels.

    A side within 2 pixels of the target size becomes that size, so that nothing is resized.
    """
    sides = [max(1, int(min(shape) * scale)) for scale in scales]
    heights, widths = ([goal if abs(x - goal) < 3 else x for x in sides] for goal in size)
    pairs = [(h, w) for i, h in enumerate(heights) for w in widths[max(i - 1, 0) : i + 2]]
    height, width = pairs[rng.integers(len(pairs))]
    # Sides that were rounded up to the target size may exceed a frame by two pixels.
    height, width = min(height, shape[0]), min(width, shape[1])
    steps = (shape[0] - height) // 4, (shape[1] - width) // 4
    positions = [(y, x) for y in (0, 2, 4) for x in (0, 2, 4)] + [
        (y, x) for y in (1, 3) for x in (1, 3)
    ]
    y, x = positions[rng.integers(len(positions))]
    return y * steps[0], x * steps[1], height, width


def _cut_and_resize(clip: np.ndarray, size: tuple[int, int, int], box: Box) -> np.ndarray:
    _check_frames(clip, size)
    top, left, height, width = box
    part = clip[:, top : top + height, left : left + width]
    return np.stack([resize_by_matrices(frame, size[1:]) for frame in part])


def _flip(rng: np.random.Generator, clip: np.ndarray, chance: float) -> np.ndarray:
    return np.ascontiguousarray(clip[:, :, ::-1]) if rng.random() < chance else clip


def _check_frames(clip: np.ndarray, size: tuple[int, int, int]) -> None:
    if len(size) != 3 or len(clip) != size[0]:
        raise DataError(
            f"a clip has {len(clip)} frames, but input.size (frames, height, width) is "
            f"{tuple(size)}: set data.decode.frames and evals.decode.frames to its first number"
        )
