"""Pictures of histograms of oriented gradients: a star of strokes in each cell."""

from __future__ import annotations

import numpy as np

STROKE = 0.5  # Half of a stroke's width, pixels.


def glyphs(histograms: np.ndarray, *, size: int = 16) -> np.ndarray:
    """Draw each cell as strokes along its edges, one per bin, as bright as the bin is strong.

    histograms: f32[rows, columns, bins] of one channel of `hog.hog`, or a mean over channels;
                values below 0, which predictions may have, draw nothing.
    size:       pixels of a cell in the picture.
    Returns u8[rows * size, columns * size], 255 where a stroke of the strongest bin is.
    """
    histograms = np.maximum(np.asarray(histograms, np.float32), 0.0)
    rows, columns, bins = histograms.shape
    cells = np.max(histograms[..., None, None] * strokes(bins, size), axis=2)
    cells = cells / max(float(histograms.max()), 1e-12)
    picture = cells.transpose(0, 2, 1, 3).reshape(rows * size, columns * size)
    return np.round(255 * picture).astype(np.uint8)


def strokes(bins: int, size: int) -> np.ndarray:
    """Return a stroke through the middle of a cell for each bin: f32[bins, size, size] in [0, 1].

    An edge runs across its gradient, and the gradients of bin b are at (b + 1/2) * pi / bins from
    the downward direction, see `hog.hog`.
    """
    angle = (np.arange(bins) + 0.5) * np.pi / bins
    offsets = np.arange(size) - (size - 1) / 2
    across = np.sin(angle)[:, None, None] * offsets
    down = np.cos(angle)[:, None, None] * offsets[:, None]
    inside = np.hypot(offsets, offsets[:, None]) <= size / 2
    return (np.clip(1 + STROKE - np.abs(across + down), 0, 1) * inside).astype(np.float32)
