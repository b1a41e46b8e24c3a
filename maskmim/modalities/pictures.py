"""Images and clips: RGB as it is, one channel as grey."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from maskmim.modalities import baselines
from maskmim.modalities.modality import Modality
from maskmim.reporting.streams import as_rgb, paint_grey
from maskmim.types import Array, Spec


def image() -> Modality:
    """Return the modality of images: the first three channels as RGB, one or two as grey.

    Images of real numbers or of more than four channels have no histogram of joint levels, but each
    channel's statistics.
    """
    return Modality(_rgb, (2,), _of_images)


def clip() -> Modality:
    """Return the modality of clips, drawn as strips of frames.

    Of clips, the raw pixels are those of the middle frame, the colours those of all frames.
    """
    return Modality(_rgb, (3,), _of_clips)


def _rgb(arrays: np.ndarray, hidden: np.ndarray | None) -> np.ndarray:
    return paint_grey(as_rgb(arrays), hidden)


def _of_images(spec: Spec) -> dict[str, Callable[[Array], Array]]:
    raw = {"raw pixels": baselines.raw_pixels}
    if spec.dtype != "uint8" or spec.channels > 4:
        return {**raw, "channel statistics": baselines.channel_statistics}
    return {**raw, "colour histogram": baselines.colour_histogram}


def _of_clips(spec: Spec) -> dict[str, Callable[[Array], Array]]:
    return {"raw pixels": _middle_pixels, "colour histogram": _colours_of_frames}


def _middle_pixels(clips: Array) -> Array:
    return baselines.raw_pixels(clips[:, clips.shape[1] // 2])


def _colours_of_frames(clips: Array) -> Array:
    examples, frames, height, width, channels = clips.shape
    return baselines.colour_histogram(clips.reshape(examples, frames * height, width, channels))
