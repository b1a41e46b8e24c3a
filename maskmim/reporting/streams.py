"""How arrays of each stream become pictures: photographs, spectrograms, strips of frames."""

from __future__ import annotations

import matplotlib
import numpy as np

GREY = 118
FRAMES = 8  # Shown of a clip, evenly spread over it.


def as_rgb(images: np.ndarray) -> np.ndarray:
    """u8[B, H, W, C] as u8[B, H, W, 3]: grey is repeated, of more channels the first three count.

    Two channels are shown by the first one, as grey.
    """
    if images.shape[-1] >= 3:
        return np.ascontiguousarray(images[..., :3])
    return np.repeat(images[..., :1], 3, axis=-1)


def look(stream: str, arrays: np.ndarray) -> np.ndarray:
    """Arrays of a stream as colours in the same places: u8[B, *size, C] -> u8[B, *size, 3].

    A spectrogram of one channel gets a colour map, so that grey is free to mean hidden.
    """
    if stream == "audio" and arrays.shape[-1] == 1:
        table = (matplotlib.colormaps["magma"](np.arange(256))[:, :3] * 255).astype(np.uint8)
        return table[arrays[..., 0]]
    return as_rgb(arrays)


def upright(stream: str, pictures: np.ndarray) -> np.ndarray:
    """Pictures as people expect them: of a spectrogram time to the right and mel upwards."""
    if stream == "audio":
        return np.ascontiguousarray(pictures.swapaxes(1, 2)[:, ::-1])
    return pictures


def cover(arrays: np.ndarray, hidden: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """u8[B, *size, C] with the patches grey where hidden bool[B, N] is true, row-major on the grid.

    Raises ValueError where the grid does not divide the arrays or has not N places.
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


def some_frames(clips: np.ndarray) -> np.ndarray:
    """At most FRAMES frames of each clip: u8[B, T, H, W, C] -> u8[B, t, H, W, C]."""
    count = clips.shape[1]
    return clips[:, np.linspace(0, count - 1, min(FRAMES, count)).round().astype(int)]
