"""A tiny DMAE with given weights, pictures and noise, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, linear
from maskmim.interop.mae_official import LAYOUT
from tests.golden.official_weights import large

GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES = 16, 4, 3
STUDENT = (3, 8, 2)  # depth, width, heads
TEACHER = (4, 12, 3)
DECODER = (2, 8, 4)
RATIO = 0.75
BLOCKS = (2, 3)  # aligned, of the student and of the teacher, from 1


def weight(name: str, shape: tuple[int, ...], *, of: str = "student") -> np.ndarray:
    """The array of an official name, of the student or of the teacher."""
    return large(name if of == "student" else f"{of}.{name}", shape)


def pictures() -> np.ndarray:
    """Normalised inputs f32[B, 3, H, W]."""
    rng = np.random.RandomState(0)
    return rng.standard_normal((EXAMPLES, 3, IMAGE, IMAGE)).astype(np.float32)


def noise() -> np.ndarray:
    """What the official masking sorts: f32[B, N]; the smallest values are visible."""
    length = (IMAGE // PATCH) ** 2
    rng = np.random.RandomState(1)
    return np.stack([rng.permutation(length) for _ in range(EXAMPLES)]).astype(np.float32) / length


def layout() -> Sequence[Entry]:
    """Official names of the student and ours."""
    return [
        *LAYOUT.encoder((PATCH, PATCH, 3), STUDENT[0]),
        *LAYOUT.decoder(DECODER[0]),
        *linear("aligned_feature_projection_heads.0", "align/dense_0"),
    ]


def teacher_layout() -> Sequence[Entry]:
    """Official names of the teacher's encoder and ours."""
    return LAYOUT.encoder((PATCH, PATCH, 3), TEACHER[0])
