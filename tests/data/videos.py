"""Videos of many kinds whose brightness encodes the index of the frame."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction

import av
import numpy as np
from PIL import Image

from tests.data.files import encoded

STEP = 4  # Grey levels from one frame to the next.
SIDE = 32
# Container -> (codec, pixels), as FFmpeg calls them.
KINDS = {
    "mp4": ("libx264", "yuv420p"),
    "mov": ("mpeg4", "yuv420p"),
    "avi": ("mpeg4", "yuv420p"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "matroska": ("ffv1", "yuv444p"),
}


def frames(count: int, side: int = SIDE) -> np.ndarray:
    """Return frames u8[count, side, side, 3], frame k with brightness 20 + STEP * k."""
    levels = 20 + STEP * np.arange(count, dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, side, side, 3)).copy()


def numbers(clip: np.ndarray) -> list[int]:
    """Return the indices that the brightness of a clip's frames encodes."""
    return [round((level - 20) / STEP) for level in clip.mean((1, 2, 3))]


def video(pictures: np.ndarray, kind: str, **options: str) -> bytes:
    """Return the bytes of a video file of one of KINDS."""
    codec, pixels = KINDS[kind]
    return encode(pictures, kind, codec, pixels, **options)


def encode(
    pictures: np.ndarray,
    container: str,
    codec: str,
    pixels: str,
    *,
    times: Sequence[int] | None = None,
    matrix: Sequence[int] | None = None,
    **options: str,
) -> bytes:
    """Return the bytes of a video file.

    container, codec, pixels, options: as FFmpeg calls them; `_` in the name of an option is `-`.
    times: when each frame is shown, in 1/25 s. matrix: the nine numbers of a display matrix.
    """
    options = {name.replace("_", "-"): value for name, value in options.items()}
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *pictures.shape[2:0:-1], pixels
        stream.time_base, stream.bit_rate = Fraction(1, 25), 4_000_000
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
            if times is not None:
                frame.pts, frame.time_base = int(times[number]), Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def moving(count: int, side: int = SIDE) -> np.ndarray:
    """Return frames u8[count, side, side, 3] of blocks that move and brighten: none are equal."""
    coarse = np.random.default_rng(0).integers(0, 160, (side // 8, side // 8, 3), np.uint8)
    blocks = coarse.repeat(8, axis=0).repeat(8, axis=1)
    shifted = [np.roll(blocks, (2 * k, 3 * k), axis=(0, 1)) + np.uint8(2 * k) for k in range(count)]
    return np.stack(shifted)


def decode(encoded: bytes, pixels: str = "rgb24") -> list[np.ndarray]:
    """Return all frames by a plain decode from the beginning, up to the first error."""
    found = []
    with av.open(io.BytesIO(encoded)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        try:
            for frame in container.decode(video=0):
                found.append(frame.to_ndarray(format=pixels))
        except av.FFmpegError:
            pass
    return found


def remux(
    encoded: bytes, container: str, change: Callable[[int, av.Packet], av.Packet | None]
) -> bytes:
    """Return the same packets in another container, each changed, or left out where None."""
    file = io.BytesIO()
    with av.open(io.BytesIO(encoded)) as source, av.open(file, "w", format=container) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            changed = change(number, packet)
            if changed is not None:
                changed.stream = stream
                out.mux(changed)
    return file.getvalue()


def animation(pictures: np.ndarray, kind: str, **options: object) -> bytes:
    """Return the bytes of an animated picture in a Pillow format."""
    first, *rest = map(Image.fromarray, pictures)
    return encoded(first, kind, save_all=True, append_images=rest, **options)
