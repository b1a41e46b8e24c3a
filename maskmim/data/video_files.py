"""Decoding of video files and animated pictures to frames."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from maskmim.data.decode import MAX_PIXELS
from maskmim.data.extras import import_extra
from maskmim.data.records import BadImage, DataError

if TYPE_CHECKING:
    import av

# The content decides the format, and some formats (playlists) would open further files.
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
    """Return chosen frames of a video: u8[frames, H, W, channels].

    encoded:    MP4, MOV, WebM, Matroska, AVI, MPEG, FLV, WMV, Ogg (through FFmpeg), animated WebP,
                GIF or PNG (through Pillow), or frames u8[T, H, W, C].
    choose:     number of frames of the video -> ascending indices of frames, which may repeat; only
                what these frames need is decoded.
    channels:   1 grey, 3 RGB, 4 RGBA; frames passed as an array may have any number.
    max_pixels: limit on H * W, checked before any pixel is decoded.
    Does not apply the rotation in a file's metadata; ignores sound.

    Raises BadImage where the file cannot be read, DataError for a file where channels is not 1, 3
    or 4.
    """
    if isinstance(encoded, np.ndarray):
        return _check_array(encoded, channels)[np.asarray(choose(len(encoded)))]
    if channels not in _PIXELS:
        raise DataError(f"video files give 1, 3 or 4 channels, not {channels}: set input.channels")
    if not encoded:
        raise BadImage("empty file")
    read = _read_animation if _is_animation(encoded) else _read_video
    try:
        return read(encoded, choose, channels, max_pixels)
    except (BadImage, DataError):
        raise
    except Exception as error:  # decoders raise almost anything on malformed files
        raise BadImage.of(error) from error


def _check_array(frames: np.ndarray, channels: int) -> np.ndarray:
    if frames.dtype != np.uint8 or frames.ndim != 4 or 0 in frames.shape:
        raise BadImage(f"expected frames u8[T, H, W, C], got {frames.dtype}{list(frames.shape)}")
    if frames.shape[-1] != channels:
        raise BadImage(f"{frames.shape[-1]} channels, expected {channels}")
    return frames


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise BadImage(f"{width} x {height} pixels are more than the limit of {max_pixels}")


def _is_animation(encoded: bytes) -> bool:
    webp = encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP"
    return webp or encoded[:4] == b"GIF8" or encoded[:8] == b"\x89PNG\r\n\x1a\n"


def _read_animation(encoded: bytes, choose: Choose, channels: int, max_pixels: int) -> np.ndarray:
    mode, _ = _PIXELS[channels]
    with Image.open(io.BytesIO(encoded), formats=("WEBP", "GIF", "PNG")) as image:
        _check_size(*image.size, max_pixels)
        count = getattr(image, "n_frames", 1)
        if count > len(encoded):  # the header can state any number
            raise BadImage(f"{count} frames in {len(encoded)} bytes")
        indices = choose(count)
        frames = {}
        for index in sorted(set(indices)):
            image.seek(index)
            frames[index] = np.asarray(image.convert(mode))
    return _stack_frames([frames[index] for index in indices], channels)


def _read_video(encoded: bytes, choose: Choose, channels: int, max_pixels: int) -> np.ndarray:
    av = import_extra("av", name="video", what="videos")
    # Opening already decodes a frame, and frames may be larger than the header says, so FFmpeg gets
    # a limit too. FFmpeg counts padding; the exact limit is checked below.
    limit = {"max_pixels": str(2 * max_pixels + 2**20)}
    with av.open(io.BytesIO(encoded), options={"format_whitelist": FORMATS, **limit}) as container:
        if not container.streams.video:
            raise BadImage("no video in the file")
        stream = container.streams.video[0]
        _check_size(stream.width, stream.height, max_pixels)
        stream.codec_context.options = limit
        stream.codec_context.thread_count = 1  # the pipeline decodes one file per thread
        times = _frame_times(container, stream)
        if not times:
            raise BadImage("no frames in the file")
        chosen = [times[index] for index in choose(len(times))]
        frames = _decode_at(container, stream, chosen, chosen[0], channels)
        if len(frames) < len(set(chosen)):  # the seek went too far, or frames need earlier ones
            frames = _decode_at(container, stream, chosen, times[0], channels)
        for frame in frames.values():
            _check_size(frame.shape[1], frame.shape[0], max_pixels)
    missing = len(set(chosen) - set(frames))
    if missing:
        raise BadImage(f"{missing} of {len(set(chosen))} frames cannot be decoded")
    return _stack_frames([frames[time] for time in chosen], channels)


def _frame_times(container: av.container.InputContainer, stream: av.VideoStream) -> list[int]:
    """Return the presentation times of frames, ascending, from the packets without decoding."""
    packets = container.demux(stream)
    return sorted({p.pts for p in packets if p.pts is not None and not p.is_discard})


def _decode_at(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    times: Sequence[int],
    start: int,
    channels: int,
) -> dict[int, np.ndarray]:
    """Seek to `start` and decode; return the frames with these times that follow, by time."""
    _, pixels = _PIXELS[channels]
    container.seek(start, stream=stream)
    left, frames = set(times), {}
    for frame in container.decode(stream):
        if frame.pts in left:
            left.remove(frame.pts)
            frames[frame.pts] = frame.to_ndarray(format=pixels)
        if not left:
            break
    return frames


def _stack_frames(frames: Sequence[np.ndarray], channels: int) -> np.ndarray:
    clip = np.stack(frames)
    return clip.reshape(*clip.shape[:3], channels)
