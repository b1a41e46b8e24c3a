"""A tiny LV-MAE with given weights and sequences, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry
from maskmim.interop.mae_official import LAYOUT
from tests.golden.official_weights import large

GOLDEN = Path(__file__).with_name("values.npz")
PLACES, WIDTH = 12, 8
LENGTHS = (12, 8, 6)
ENCODER, DECODER = (2, 2), (1, 8, 2)  # depth, heads; depth, width, heads
RATIO = 0.5
# Which embeddings are hidden, and the loss that is recorded with it.
CASES = {"random": "error", "redundant": "cosine"}


def sequences() -> list[np.ndarray]:
    """Embeddings f32[L, D] of any length, as they are stored."""
    rng = np.random.RandomState(0)
    return [rng.standard_normal((length, WIDTH)).astype(np.float32) for length in LENGTHS]


def noise() -> list[np.ndarray]:
    """What the official masking sorts, f32[L] of each sequence; the smallest are visible."""
    rng = np.random.RandomState(1)
    return [((rng.permutation(n) + 0.5) / n).astype(np.float32) for n in LENGTHS]


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an official name."""
    return large(name, shape)


def layout() -> Sequence[Entry]:
    """Official names and ours."""
    entries = [*LAYOUT.encoder((1, 1, 1), ENCODER[0]), *LAYOUT.decoder(DECODER[0])]
    return [
        entry._replace(path=entry.path.replace("head_pixels", "head_embeddings"))
        for entry in entries
        if not entry.name.startswith("patch_embed")
    ]
