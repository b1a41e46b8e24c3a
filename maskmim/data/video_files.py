"""Frames from the bytes of a video file or of an animated picture."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from maskmim.data.decode import MAX_PIXELS
from maskmim.data.extras import extra
from maskmim.data.records import BadImage, DataError

if TYPE_CHECKING:
    import av

# The content decides what a file is, and some formats (playlists) would open further files.
FORMATS = "mov,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,h264,hevc,m4v"
_PIXELS = {1: ("L", "gray"), 3: ("RGB", "rgb24"), 4: ("RGBA", "rgba")}

Choose = Callable[[int], Sequence[int]]


def read_frames(
    encoded: bytes | np.ndarray,
    choose: Choose,
    *,
    channels: int = 3,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Chosen frames of a video: u8[frames, H, W, channels].

    encoded:    MP4, MOV, WebM, Matroska, AVI, MPEG, FLV, WMV, Ogg (through FFmpeg), animated WebP,
                GIF or PNG (through Pillow), or frames u8[T, H, W, C].
    choose:     number of frames of the video -> ascending places of the wanted ones, which may
                repeat; only what they need is decoded.
    channels:   1 grey, 3 RGB, 4 RGBA; frames given as an array may have any number.
    max_pixels: limit on H * W, checked before any pixel is decoded.
    A rotation noted in a file is not applied; sound is passed over.

    Raises BadImage for whatever cannot be read, DataError where files are asked for with channels
    not 1, 3, 4.
    """
    if isinstance(encoded, np.ndarray):
        return _checked_array(encoded, channels)[np.asarray(choose(len(encoded)))]
    if channels not in _PIXELS:
        raise DataError(f"video files give 1, 3 or 4 channels, not {channels}: set input.channels")
    if not encoded:
        raise BadImage("empty file")
    read = _animation if _is_animation(encoded) else _video
    try:
        return read(encoded, choose, channels, max_pixels)
    except (BadImage, DataError):
        raise
    except Exception as error:  # decoders raise almost anything on malformed files
        raise BadImage.of(error) from error


def _checked_array(frames: np.ndarray, channels: int) -> np.ndarray:
    if frames.dtype != np.uint8 or frames.ndim != 4 or 0 in frames.shape:
        raise BadImage(f"frames u8[T, H, W, C] expected, got {frames.dtype}{list(frames.shape)}")
    if frames.shape[-1] != channels:
        raise BadImage(f"{frames.shape[-1]} channels, {channels} asked")
    return frames


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise BadImage(f"{width} x {height} pixels are more than the limit of {max_pixels}")


def _is_animation(encoded: bytes) -> bool:
    webp = encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP"
    return webp or encoded[:4] == b"GIF8" or encoded[:8] == b"\x89PNG\r\n\x1a\n"


def _animation(encoded: bytes, choose: Choose, channels: int, max_pixels: int) -> np.ndarray:
    mode, _ = _PIXELS[channels]
    with Image.open(io.BytesIO(encoded), formats=("WEBP", "GIF", "PNG")) as image:
        _check_size(*image.size, max_pixels)
        count = getattr(image, "n_frames", 1)
        if count > len(encoded):  # a number in the header, which may be any
            raise BadImage(f"{count} frames in {len(encoded)} bytes")
        places = choose(count)
        found = {}
        for place in sorted(set(places)):
            image.seek(place)
            found[place] = np.asarray(image.convert(mode))
    return _stacked([found[place] for place in places], channels)


def _video(encoded: bytes, choose: Choose, channels: int, max_pixels: int) -> np.ndarray:
    av = extra("av", name="video", what="videos")
    # Opening decodes a first frame already, and frames may be larger than the header says: FFmpeg
    # itself must know a limit. It counts padding, so that the exact one is checked here besides.
    limit = {"max_pixels": str(2 * max_pixels + 2**20)}
    with av.open(io.BytesIO(encoded), options={"format_whitelist": FORMATS, **limit}) as container:
        if not container.streams.video:
            raise BadImage("no video in the file")
        stream = container.streams.video[0]
        _check_size(stream.width, stream.height, max_pixels)
        stream.codec_context.options = limit
        stream.codec_context.thread_count = 1  # the pipeline has threads, one for each file
        times = _times(container, stream)
        if not times:
            raise BadImage("no frames in the file")
        wanted = [times[place] for place in choose(len(times))]
        found = _decoded(container, stream, wanted, wanted[0], channels)
        if len(found) < len(set(wanted)):  # what a seek reached came too late, or needs more before
            found = _decoded(container, stream, wanted, times[0], channels)
        for frame in found.values():
            _check_size(frame.shape[1], frame.shape[0], max_pixels)
    missing = len(set(wanted) - set(found))
    if missing:
        raise BadImage(f"{missing} of {len(set(wanted))} frames cannot be decoded")
    return _stacked([found[time] for time in wanted], channels)


def _times(container: av.container.InputContainer, stream: av.VideoStream) -> list[int]:
    """The times at which frames are shown, ascending, read from the packets without decoding."""
    packets = container.demux(stream)
    return sorted({p.pts for p in packets if p.pts is not None and not p.is_discard})


def _decoded(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    wanted: Sequence[int],
    start: int,
    channels: int,
) -> dict[int, np.ndarray]:
    """The wanted frames by their times, as far as they come after a seek to `start`."""
    _, pixels = _PIXELS[channels]
    container.seek(start, stream=stream)
    left, found = set(wanted), {}
    for frame in container.decode(stream):
        if frame.pts in left:
            left.remove(frame.pts)
            found[frame.pts] = frame.to_ndarray(format=pixels)
        if not left:
            break
    return found


def _stacked(frames: Sequence[np.ndarray], channels: int) -> np.ndarray:
    clip = np.stack(frames)
    return clip.reshape(*clip.shape[:3], channels)
