"""A tiny ViC-MAE with given weights, views and noise, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, linear, vector
from maskmim.interop.mae_official import LAYOUT
from tests.golden.official_weights import drawn

GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES = 16, 4, 5
ENCODER = (2, 8, 2)  # depth, width, heads
DECODER = (1, 8, 2)
HIDDEN, VALUES = 12, 6  # of the projector
RATIO = 0.5
EVERY = 3  # Of the gradients every third number is stored.


def views() -> np.ndarray:
    """Two normalised views of each example, f32[2, B, 3, H, W]."""
    rng = np.random.RandomState(0)
    return rng.standard_normal((2, EXAMPLES, 3, IMAGE, IMAGE)).astype(np.float32)


def noise() -> np.ndarray:
    """What the official masking sorts, of each view: f32[2, B, N]; the smallest stay visible."""
    length = (IMAGE // PATCH) ** 2
    rng = np.random.RandomState(1)
    orders = [rng.permutation(length) for _ in range(2 * EXAMPLES)]
    return np.stack(orders).reshape(2, EXAMPLES, length).astype(np.float32) / length


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an official name: large random numbers, norms' around 1."""
    numbers = drawn(name, shape)
    norm = name.endswith("weight") and len(shape) == 1
    return (1 + 0.2 * numbers if norm else 0.4 * numbers).astype(np.float32)


def layout() -> Sequence[Entry]:
    """Official names and ours; the projector is linear, batch norm, ReLU twice, then linear."""
    head = [
        entry
        for number in range(3)
        for entry in linear(f"projector.{3 * number}", f"projector/dense_{number}")
    ]
    norms = [
        vector(f"projector.{3 * number + 1}.{theirs}", f"projector/norm_{number}/{ours}")
        for number in range(2)
        for theirs, ours in (("weight", "scale"), ("bias", "bias"))
    ]
    encoder = LAYOUT.encoder((PATCH, PATCH, 3), ENCODER[0])
    return [*encoder, *LAYOUT.decoder(DECODER[0]), *head, *norms]
