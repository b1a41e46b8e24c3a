"""A tiny LUT with given weights, views and noise, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, kernel, vector
from maskmim.interop.mae_official import LAYOUT
from tests.golden.official_weights import drawn

GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES = 16, 4, 5
ENCODER = (2, 8, 2)  # depth, width, heads
DECODER = (1, 8, 2)
HIDDEN = 12  # of projector and predictor
RATIO, WEIGHT = 0.75, 0.25
EVERY = 3  # Of the gradients every third number is stored.
# The heads' official and our names.
HEADS = {"head": "projector", "predictor": "predictor"}


def views() -> np.ndarray:
    """Two normalised views of each example, f32[2, B, 3, H, W]."""
    rng = np.random.RandomState(0)
    return rng.standard_normal((2, EXAMPLES, 3, IMAGE, IMAGE)).astype(np.float32)


def noise() -> np.ndarray:
    """What the official masking sorts: f32[B, N]; the smallest values are visible in view 1."""
    length = (IMAGE // PATCH) ** 2
    rng = np.random.RandomState(1)
    return np.stack([rng.permutation(length) for _ in range(EXAMPLES)]).astype(np.float32) / length


def weight(name: str, shape: tuple[int, ...], *, of: str = "student") -> np.ndarray:
    """The array of an official name, of the student or its average: large, norms' around 1."""
    numbers = drawn(f"{of} {name}", shape)
    norm = name.endswith("weight") and len(shape) == 1
    return (1 + 0.2 * numbers if norm else 0.4 * numbers).astype(np.float32)


def layout() -> Sequence[Entry]:
    """Official names and ours; the average has all but the decoder and the predictor."""
    return [
        *LAYOUT.encoder((PATCH, PATCH, 3), ENCODER[0]),
        *LAYOUT.decoder(DECODER[0]),
        *(entry for theirs, ours in HEADS.items() for entry in _head(theirs, ours)),
    ]


def _head(theirs: str, ours: str) -> Sequence[Entry]:
    """The layers of a head in official order: linear, batch norm, activation, linear."""
    return [
        kernel(f"{theirs}.0.weight", f"{ours}/dense_0/kernel"),
        vector(f"{theirs}.1.weight", f"{ours}/norm_0/scale"),
        vector(f"{theirs}.1.bias", f"{ours}/norm_0/bias"),
        kernel(f"{theirs}.3.weight", f"{ours}/dense_1/kernel"),
    ]
