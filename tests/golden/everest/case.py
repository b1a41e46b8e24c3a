"""A tiny EVEREST with given weights and clips: the network of videomae_v2's case, longer clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.golden.videomae_v2.case import DECODER, ENCODER, PATCH, layout, weight, with_key_biases

__all__ = ["DECODER", "ENCODER", "PATCH", "layout", "weight", "with_key_biases"]

GOLDEN = Path(__file__).with_name("values.npz")
SIZE, GRID = (16, 16, 16), (8, 4, 4)  # The official code compares eight time steps.
EXAMPLES = 2
RATIO, KEPT = 0.9, 0.3
VISIBLE, PREDICTED = 12, 26  # int(0.1 * 128) and int(0.3 * 128) - 12


def clips() -> np.ndarray:
    """Clips u8[B, T, H, W, 3]: one part of every frame is new, the rest stays."""
    rng = np.random.RandomState(0)
    frames = rng.randint(0, 256, (EXAMPLES, *SIZE, 3))
    still = rng.rand(EXAMPLES, SIZE[0] // PATCH[0], *SIZE[1:], 1).repeat(PATCH[0], axis=1) < 0.6
    for frame in range(PATCH[0], SIZE[0]):
        before = frames[:, frame - PATCH[0]]
        frames[:, frame] = np.where(still[:, frame], before, frames[:, frame])
    return frames.astype(np.uint8)
