"""A second view of a clip, and single frames of it, as further streams of an example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import numpy as np

from maskmim.config import kinds
from maskmim.data.clip_transforms import random_resized_crop_flip
from maskmim.data.records import DataError
from maskmim.data.transforms import random_resized_crop_flip as crop_picture

Crop = Annotated[Callable[..., np.ndarray], kinds.AUGMENTATION]


def clip_and_frames(
    rng: np.random.Generator,
    arrays: Mapping[str, np.ndarray],
    size: Mapping[str, tuple[int, ...]],
    *,
    clip: Crop = random_resized_crop_flip,
    picture: Crop = crop_picture,
    video: str = "video",
    second: str = "second",
    frames: tuple[str, ...] = ("frame_1", "frame_2"),
) -> dict[str, np.ndarray]:
    """Crop a clip twice, and crop one random frame of each of equal parts of it.

    arrays:  {video: u8[T, H, W, C]}. size: of each of the streams.
    clip, picture: augmentation bricks of a clip and of a frame, each drawn anew for every stream.
    video, second, frames: names of the streams; the frames stand in the order of time. In a clip of
             fewer frames some are taken twice.
    Returns {video: u8[t, h, w, C], second: the same, each of frames: u8[h', w', C]}.
    Raises DataError for sizes that lack one of the streams, and as the bricks do.
    Source: the sampling of TSN (arXiv 1608.00859); how CrossVideoMAE samples its frames could not
    be read.
    """
    if lacking := [name for name in (video, second, *frames) if name not in size]:
        raise DataError(
            f"clip_and_frames makes {', '.join((video, second, *frames))}, but an example has no "
            f"{lacking[0]}: add input.streams.{lacking[0]}, or give the keyword another name"
        )
    whole = arrays[video]
    made = {name: clip(rng, whole, size[name]) for name in (video, second)}
    starts = np.arange(len(frames)) * len(whole) // len(frames)
    ends = np.maximum(np.arange(1, len(frames) + 1) * len(whole) // len(frames), starts + 1)
    chosen = rng.integers(starts, ends)
    pictures = {
        name: picture(rng, whole[at], size[name]) for name, at in zip(frames, chosen, strict=True)
    }
    return made | pictures
