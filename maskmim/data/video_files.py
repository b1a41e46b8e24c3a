"""Decoding of video files and animated pictures to frames."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from maskmim.data.decode import MAX_PIXELS, decode
from maskmim.data.deep_images import orientation_of
from maskmim.data.geometry import check_size, undo_orientation
from maskmim.data.records import BadImage, DataError
from maskmim.data.video_decoding import Choose, VideoFile
from maskmim.errors import count_of

# Names of pixels with a number of channels, Pillow's and FFmpeg's.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_PIXEL_FORMATS = {1: "gray", 3: "rgb24", 4: "rgba"}


def read_frames(
    encoded: bytes | np.ndarray,
    choose: Choose,
    *,
    channels: int = 3,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Return chosen frames of a video: u8[frames, H, W, channels].

    encoded:    MP4, MOV, WebM, Matroska, AVI, MPEG, MPEG-TS, FLV, WMV, Ogg, MXF (through FFmpeg),
                animated WebP, GIF or PNG (through Pillow), or frames u8[T, H, W, C].
    choose:     number of frames of the video -> ascending indices of frames, which may repeat;
                called again where decoding gives another number than the file's packets promise.
    channels:   1 grey, 3 RGB, 4 RGBA; frames passed as an array may have any number.
    max_pixels: limit on H * W, checked before any pixel is decoded.
    Frames are those of a decode from the beginning, in the decoder's order, whatever time stamps
    say, see `video_decoding`; of a damaged file, those before the first that cannot be decoded.
    Quarter turns and mirrorings in the metadata, as phones write them, are applied. Takes the first
    video that is not a cover picture. Ignores sound, and the shape of pixels that are not square.

    Raises BadImage where the file cannot be read or chosen frames differ in size, DataError for a
    file where channels is not 1, 3 or 4.
    """
    if isinstance(encoded, np.ndarray):
        return _check_array(encoded, channels)[np.asarray(choose(len(encoded)))]
    if channels not in _MODES:
        raise DataError(f"video files give 1, 3 or 4 channels, not {channels}: set input.channels")
    if not encoded:
        raise BadImage("empty file")
    read = _read_animation if _is_animation(encoded) else _read_video
    try:
        frames = read(encoded, choose, channels, max_pixels)
    except (BadImage, DataError):
        raise
    except Exception as error:  # decoders raise almost anything on malformed files
        raise BadImage.of(error) from error
    sizes = sorted({f"{frame.shape[1]} x {frame.shape[0]}" for frame in frames})
    if len(sizes) > 1:
        raise BadImage(f"frames of different sizes: {' and '.join(sizes)} pixels")
    return np.stack(frames)


def _check_array(frames: np.ndarray, channels: int) -> np.ndarray:
    if frames.dtype != np.uint8 or frames.ndim != 4 or 0 in frames.shape:
        raise BadImage(f"expected frames u8[T, H, W, C], got {frames.dtype}{list(frames.shape)}")
    if frames.shape[-1] != channels:
        raise BadImage(f"{count_of(frames.shape[-1], 'channel')}, expected {channels}")
    return frames


def _is_animation(encoded: bytes) -> bool:
    webp = encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP"
    return webp or encoded[:4] == b"GIF8" or encoded[:8] == b"\x89PNG\r\n\x1a\n"


def _read_animation(
    encoded: bytes, choose: Choose, channels: int, max_pixels: int
) -> list[np.ndarray]:
    with Image.open(io.BytesIO(encoded), formats=("WEBP", "GIF", "PNG")) as image:
        check_size(*image.size, max_pixels)
        count = getattr(image, "n_frames", 1)
        if count > len(encoded):  # the header can state any number
            raise BadImage(f"{count_of(count, 'frame')} in {len(encoded)} bytes")
        places = choose(count)
        if count == 1:
            return [decode(encoded, channels=channels, max_pixels=max_pixels)] * len(places)
        frames = {}
        for place in sorted(set(places)):
            image.seek(place)
            frames[place] = _eight_bit_pixels(image, channels)
        upright = orientation_of(image)
    return [undo_orientation(frames[place], upright) for place in places]


def _eight_bit_pixels(image: Image.Image, channels: int) -> np.ndarray:
    """Return the pixels of the frame that Pillow stands at: u8[H, W, channels]."""
    if image.mode.startswith("I"):  # Pillow clips at 255 and draws later frames wrong
        raise BadImage("an animated picture of 16 bits: convert it to 8 bits, or to a video")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    pixels = np.asarray(image.convert(_MODES[channels]))
    return pixels.reshape(*pixels.shape[:2], channels)


def _read_video(encoded: bytes, choose: Choose, channels: int, max_pixels: int) -> list[np.ndarray]:
    return VideoFile(encoded, _PIXEL_FORMATS[channels], max_pixels).read(choose)
