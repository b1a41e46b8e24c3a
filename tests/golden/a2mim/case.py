"""Small pictures, predictions, features and masks for A2MIM's official pieces and for ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES, HIDDEN = 16, 4, 3, 10
GRID = (IMAGE // PATCH, IMAGE // PATCH)
CHANNELS, START = 5, 0.25  # of the ResNet's features, and the factor of hidden ones
# A2MIMHead of the official configs r50.py and vit_base.py.
HEADS = {
    "vit": {"mode": "l1_loss", "fft_weight": 0.1, "fft_unmask_weight": 0.0},
    "resnet": {"mode": "focal_l1_loss", "fft_weight": 0.5, "fft_unmask_weight": 1e-3},
}


def pictures(seed: int) -> np.ndarray:
    """Normalised pictures f32[B, H, W, 3]; seed 0: the true ones, 1: predicted."""
    rng = np.random.RandomState(seed)
    return rng.standard_normal((EXAMPLES, IMAGE, IMAGE, 3)).astype(np.float32)


def hidden() -> np.ndarray:
    """Which tokens are hidden: bool[B, rows, columns], HIDDEN of each example."""
    rng = np.random.RandomState(2)
    order = np.stack([rng.permutation(GRID[0] * GRID[1]) for _ in range(EXAMPLES)])
    return (order < HIDDEN).reshape(EXAMPLES, *GRID)


def features() -> np.ndarray:
    """Features f32[B, rows, columns, CHANNELS]."""
    rng = np.random.RandomState(3)
    return rng.standard_normal((EXAMPLES, *GRID, CHANNELS)).astype(np.float32)


def token() -> np.ndarray:
    """The mask token f32[CHANNELS]."""
    return np.random.RandomState(4).standard_normal(CHANNELS).astype(np.float32)
