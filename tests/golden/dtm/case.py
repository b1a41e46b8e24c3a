"""Small predictions, targets and schedules for DTM's official loss and for ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).with_name("values.npz")
EXAMPLES, VALUES, ROUNDS = 3, 5, 14
# Tokens of a picture, and two schedules for them: tokens to remove and rounds.
CASES = (
    (16, ((11, 3), (0, 5))),
    (16, ((16, 14), (7, 1))),
    (16, ((12, 5), (16, 4))),
    (15, ((9, 2), (15, 14))),
)


def tokens(number: int, seed: int) -> np.ndarray:
    """What is predicted (seed 0) or wanted (seed 1) in a case: f32[B, N, V]."""
    rng = np.random.RandomState(10 * number + seed)
    return (2 * rng.standard_normal((EXAMPLES, CASES[number][0], VALUES))).astype(np.float32)
