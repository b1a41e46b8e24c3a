"""Conversion of images, spectrograms and clips to pictures that can be shown."""

from __future__ import annotations

import matplotlib
import numpy as np

GREY = 118
FRAMES = 8  # Frames shown of a clip, evenly spaced.


def as_rgb(images: np.ndarray) -> np.ndarray:
    """Return images u8[B, H, W, C] as u8[B, H, W, 3].

    Takes the first three channels; of fewer, repeats the first one as grey.
    """
    if images.shape[-1] >= 3:
        return np.ascontiguousarray(images[..., :3])
    return np.repeat(images[..., :1], 3, axis=-1)


def colourise(stream: str, arrays: np.ndarray) -> np.ndarray:
    """Return arrays of a stream as RGB: u8[B, *size, C] -> u8[B, *size, 3].

    A spectrogram of one channel gets a colour map, so that grey can mean hidden.
    """
    if stream == "audio" and arrays.shape[-1] == 1:
        palette = (matplotlib.colormaps["magma"](np.arange(256))[:, :3] * 255).astype(np.uint8)
        return palette[arrays[..., 0]]
    return as_rgb(arrays)


def orient(stream: str, pictures: np.ndarray) -> np.ndarray:
    """Turn spectrograms so that time runs to the right and mel upwards; return others unchanged."""
    if stream == "audio":
        return np.ascontiguousarray(pictures.swapaxes(1, 2)[:, ::-1])
    return pictures


def grey_hidden(arrays: np.ndarray, hidden: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Paint the hidden patches of arrays u8[B, *size, C] grey.

    hidden: bool[B, N] for the patches in row-major order on the grid.
    Raises ValueError where the grid does not divide the arrays or does not have N patches.
    """
    size = arrays.shape[1:-1]
    fits = len(grid) == len(size) and not any(n % c for n, c in zip(size, grid, strict=True))
    if not fits or hidden.shape != (len(arrays), int(np.prod(grid))):
        raise ValueError(
            f"a mask {hidden.shape} on a grid {' x '.join(map(str, grid))} does not fit "
            f"{len(arrays)} images of {' x '.join(map(str, size))}: give bool[B, prod(grid)] and a "
            "grid that divides the size"
        )
    veil = hidden.reshape(-1, *grid)
    for axis, (length, count) in enumerate(zip(size, grid, strict=True), start=1):
        veil = veil.repeat(length // count, axis=axis)
    return np.where(veil[..., None], np.uint8(GREY), arrays)


def sample_frames(clips: np.ndarray) -> np.ndarray:
    """Return at most FRAMES frames of each clip: u8[B, T, H, W, C] -> u8[B, t, H, W, C]."""
    count = clips.shape[1]
    return clips[:, np.linspace(0, count - 1, min(FRAMES, count)).round().astype(int)]
