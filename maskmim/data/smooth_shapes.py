"""Random smooth shapes: outlines that are sums of a few waves around a circle."""

from __future__ import annotations

import numpy as np

# Waves around the outline, and the sum of their heights as a share of the mean radius.
WAVES = (2, 3, 4, 5)
HEIGHT = 0.5


def random_outline(rng: np.random.Generator) -> np.ndarray:
    """Draw an outline: complex f64[waves], amplitude and phase of each wave of WAVES.

    Amplitudes are uniform shares of HEIGHT, lower for shorter waves; phases are uniform.
    """
    heights = rng.uniform(0, 1, len(WAVES)) / np.asarray(WAVES)
    phases = rng.uniform(0, 2 * np.pi, len(WAVES))
    return HEIGHT * heights / heights.sum() * np.exp(1j * phases)


def opacity(
    outline: np.ndarray, size: tuple[int, int], centre: tuple[float, float], radius: float
) -> np.ndarray:
    """Return how much of each pixel a shape covers, in [0, 1]: f32[*size].

    outline: of `random_outline`. centre: (row, column) in pixels, of corners of the picture 0.
    radius: the shape's largest, in pixels. The outline is soft over one pixel.
    """
    rows, columns = np.ogrid[: size[0], : size[1]]
    down, right = rows + 0.5 - centre[0], columns + 0.5 - centre[1]
    far, angle = np.hypot(down, right), np.arctan2(down, right)
    waves = (abs(a) * np.cos(k * angle + np.angle(a)) for k, a in zip(WAVES, outline, strict=True))
    reach = radius * (1 + sum(waves)) / (1 + HEIGHT)
    return np.clip(reach - far + 0.5, 0, 1).astype(np.float32)
