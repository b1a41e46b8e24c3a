"""Videos of many kinds whose brightness encodes the index of the frame."""

from __future__ import annotations

import io
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
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *pictures.shape[2:0:-1], pixels
        stream.time_base, stream.bit_rate = Fraction(1, 25), 4_000_000
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def animation(pictures: np.ndarray, kind: str, **options: object) -> bytes:
    """Return the bytes of an animated picture in a Pillow format."""
    first, *rest = map(Image.fromarray, pictures)
    return encoded(first, kind, save_all=True, append_images=rest, **options)
