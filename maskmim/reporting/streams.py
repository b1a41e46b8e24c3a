"""Arrays of a stream as RGB, with what a mask hides painted grey."""

from __future__ import annotations

import numpy as np

GREY = 118
FRAMES = 8  # Frames shown of a clip, evenly spaced.


def as_rgb(images: np.ndarray) -> np.ndarray:
    """Return images u8[B, *size, C] as u8[B, *size, 3].

    Takes the first three channels; of fewer, repeats the first one as grey.
    """
    if images.shape[-1] >= 3:
        return np.ascontiguousarray(images[..., :3])
    return np.repeat(images[..., :1], 3, axis=-1)


def grey_hidden(arrays: np.ndarray, hidden: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Paint the hidden patches of arrays u8[B, *size, C] grey.

    hidden: bool[B, N] for the patches in row-major order on the grid.
    Raises ValueError where the grid does not divide the arrays or does not have N patches.
    """
    return paint_grey(arrays, hidden_values(hidden, grid, arrays.shape[:-1]))


def hidden_values(hidden: np.ndarray, grid: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Return which values of arrays lie in hidden patches: bool[B, N] -> bool[B, *size].

    hidden: for the patches in row-major order on the grid. shape: (B, *size).
    Raises ValueError where the grid does not divide the arrays or does not have N patches.
    """
    examples, *size = shape
    if not divides(grid, size) or hidden.shape != (examples, int(np.prod(grid))):
        raise ValueError(
            f"a mask {hidden.shape} on a grid {' x '.join(map(str, grid))} does not fit "
            f"{examples} images of {' x '.join(map(str, size))}: give bool[B, prod(grid)] and a "
            "grid that divides the size"
        )
    values = hidden.reshape(-1, *grid)
    for axis, (length, count) in enumerate(zip(size, grid, strict=True), start=1):
        values = values.repeat(length // count, axis=axis)
    return values


def divides(grid: tuple[int, ...], size: tuple[int, ...]) -> bool:
    """Return whether a grid has the axes of a size and divides each of them."""
    return len(grid) == len(size) and not any(n % c for n, c in zip(size, grid, strict=True))


def paint_grey(pictures: np.ndarray, hidden: np.ndarray | None) -> np.ndarray:
    """Return pictures u8[B, *size, C], grey where hidden bool[B, *size] is True; None: nowhere."""
    return pictures if hidden is None else np.where(hidden[..., None], np.uint8(GREY), pictures)


def sample_frames(clips: np.ndarray) -> np.ndarray:
    """Return at most FRAMES frames of each clip: u8[B, T, H, W, C] -> u8[B, t, H, W, C]."""
    count = clips.shape[1]
    return clips[:, np.linspace(0, count - 1, min(FRAMES, count)).round().astype(int)]
