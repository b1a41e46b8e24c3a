"""Windows of long videos and recordings, with their times, decoded once from the beginning."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maskmim.data.decode import MAX_PIXELS
from maskmim.data.extras import import_extra
from maskmim.data.geometry import check_size, undo_orientation
from maskmim.data.records import BadImage
from maskmim.data.sound import Sound
from maskmim.data.video_decoding import FORMATS, orientation

# Names of pixels of FFmpeg with a number of channels.
PIXEL_FORMATS = {1: "gray", 3: "rgb24", 4: "rgba"}
# Seconds between two frames; damaged time stamps must not make a million windows.
LONGEST_GAP = 3600.0


class Window(NamedTuple):
    """A part of a video or a recording: its number, its times in seconds, and what is in it.

    content: frames u8[T, H, W, C], or a Sound.
    """

    number: int
    start: float
    end: float
    content: Any


class Cut(NamedTuple):
    """How files are cut: windows of `length` seconds, one every `stride` seconds.

    The first window is there however short the file is; a later one where at least half of it lies
    in the file, whose end is then its end.
    """

    length: float
    stride: float

    def holds(self, number: int, duration: float) -> bool:
        """Return whether a file of some seconds has a window of this number."""
        return number == 0 or number * self.stride + self.length / 2 <= duration

    def window(self, number: int, duration: float, content: Any) -> Window:
        """Return a window that `holds`."""
        start = number * self.stride
        return Window(number, start, min(start + self.length, duration), content)


def of_sound(sound: Sound, cut: Cut, first: int) -> Iterator[Window]:
    """Yield the windows of a recording from number `first` on."""
    duration = len(sound.samples) / sound.rate
    for number in itertools.count(first):
        if not cut.holds(number, duration):
            return
        start = round(number * cut.stride * sound.rate)
        part = sound.samples[start : start + round(cut.length * sound.rate)]
        yield cut.window(number, duration, Sound(part, sound.rate))


def of_video(
    path: Path, cut: Cut, first: int, *, frames: int, channels: int, max_pixels: int = MAX_PIXELS
) -> Iterator[Window]:
    """Yield the windows of a video file from number `first` on, each with so many frames.

    Frame i is the one that is shown at (i + 1/2) / frames of the window. Reads the file from disk
    while it decodes; holds the chosen frames of the windows that are not complete. Of a damaged
    file the windows before the damage come; turns in the metadata are applied.
    Raises BadImage where no frame can be read.
    """
    library = import_extra("av", name="video", what="videos")
    try:
        yield from cut_frames(
            _shown(library, path, channels, max_pixels), cut, first, frames=frames
        )
    except BadImage:
        raise
    except (OSError, ValueError, ArithmeticError, MemoryError) as error:  # of FFmpeg too
        raise BadImage.of(error) from error


class Shown(NamedTuple):
    """A frame that is shown from `time` on, for `seconds` where it is the last; `pixels` makes it.

    time: seconds after the first frame.
    """

    time: float
    seconds: float
    pixels: Callable[[], np.ndarray]


def _shown(library: Any, path: Path, channels: int, max_pixels: int) -> Iterator[Shown]:
    """Yield the frames of a file in the order in which they are shown."""
    limits = {"format_whitelist": FORMATS, "max_pixels": str(2 * max_pixels + 2**20)}
    with path.open("rb") as file, library.open(file, options=limits) as container:
        cover = library.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & cover]
        if not streams or streams[0].codec_context is None:
            raise BadImage("no video in the file")
        stream = streams[0]
        check_size(stream.width, stream.height, max_pixels)
        stream.codec_context.options = {"max_pixels": limits["max_pixels"]}
        stream.codec_context.thread_count = 1
        seconds = float(1 / (stream.average_rate or stream.guessed_rate or 25))
        origin, last = None, -seconds
        decoded = container.decode(stream)
        while True:
            try:
                frame = next(decoded, None)
            except library.FFmpegError:
                if origin is None:
                    raise
                return
            if frame is None:
                return
            stamp = last + seconds if frame.time is None else frame.time
            origin = stamp if origin is None else origin
            if stamp - origin > last + LONGEST_GAP:
                raise BadImage(f"a gap of {stamp - origin - last:,.0f} s between two frames")
            last = max(last, stamp - origin)
            yield Shown(last, seconds, _pixels_once(frame, channels, max_pixels))


def _pixels_once(frame: Any, channels: int, max_pixels: int) -> Callable[[], np.ndarray]:
    """Return a function that makes the pixels of a frame at its first call, upright."""
    made: list[np.ndarray] = []

    def pixels() -> np.ndarray:
        if not made:
            check_size(frame.width, frame.height, max_pixels)
            array = frame.to_ndarray(format=PIXEL_FORMATS[channels])
            array = array.reshape(*array.shape[:2], channels)
            made.append(undo_orientation(array, orientation(frame)))
        return made[0]

    return pixels


@dataclass
class _Open:
    """A window whose frames are still being chosen."""

    number: int
    start: float
    step: float
    chosen: list[np.ndarray] = field(default_factory=list)

    def take(self, frame: Shown, until: float, frames: int) -> None:
        """Choose a frame for every place that lies before the time at which the next is shown."""
        while len(self.chosen) < frames and self._next() < until:
            self.chosen.append(frame.pixels())

    def _next(self) -> float:
        return self.start + (len(self.chosen) + 0.5) * self.step


def cut_frames(shown: Iterable[Shown], cut: Cut, first: int, *, frames: int) -> Iterator[Window]:
    """Yield the windows of a video from number `first` on, in order. Raises BadImage without one.

    shown: the frames of the video.
    """
    opened: list[_Open] = []
    following, before = first, None

    def open_until(time: float) -> None:
        nonlocal following
        while following * cut.stride < time:
            opened.append(_Open(following, following * cut.stride, cut.length / frames))
            following += 1

    for frame in shown:
        if before is not None:
            open_until(frame.time)
            yield from _closed(opened, before, frame.time, cut, frames)
        before = frame
    if before is None:
        raise BadImage("no frames in the file")
    duration = before.time + before.seconds
    open_until(duration)
    for window in opened:
        window.take(before, float("inf"), frames)
        if cut.holds(window.number, duration):
            yield cut.window(window.number, duration, _stacked(window.chosen))


def _closed(
    opened: list[_Open], before: Shown, until: float, cut: Cut, frames: int
) -> Iterator[Window]:
    """Give a frame to the open windows, and yield those that end before the next is shown."""
    for window in opened:
        window.take(before, until, frames)
    while opened and opened[0].start + cut.length <= until:
        window = opened.pop(0)
        yield cut.window(window.number, until, _stacked(window.chosen))


def _stacked(frames: list[np.ndarray]) -> np.ndarray:
    with suppress(ValueError):
        return np.stack(frames)
    sizes = sorted({f"{frame.shape[1]} x {frame.shape[0]}" for frame in frames})
    raise BadImage(f"frames of different sizes: {' and '.join(sizes)} pixels")
