"""A tiny ReMasker with given weights, rows, gaps and noise, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry
from maskmim.interop.mae_official import LAYOUT
from tests.golden.official_weights import large

GOLDEN = Path(__file__).with_name("values.npz")
COLUMNS, ROWS = 8, 4
ENCODER, DECODER = (2, 8, 2), (1, 8, 2)  # depth, width, heads
RATIO, EPSILON = 0.5, 1e-8
# Of each row; the last has fewer observed cells than training shows, and is imputed alone.
GAPS = ((), (2, 5), (0, 1, 6, 7), (0, 2, 3, 4, 6, 7))
TRAINED = 3


def missing() -> np.ndarray:
    """Which cells are missing, bool[n, d]."""
    gaps = np.zeros((ROWS, COLUMNS), bool)
    for row, places in enumerate(GAPS):
        gaps[row, list(places)] = True
    return gaps


def rows() -> np.ndarray:
    """Cells in [0, 1], f32[n, d], NaN where missing."""
    cells = np.random.RandomState(0).random_sample((ROWS, COLUMNS))
    return np.where(missing(), np.nan, cells).astype(np.float32)


def noise() -> np.ndarray:
    """What the official masking sorts, f32[n, d]; the smallest values are visible."""
    rng = np.random.RandomState(1)
    ranks = np.stack([rng.permutation(COLUMNS) for _ in range(TRAINED)])
    return ((ranks + 0.5) / COLUMNS).astype(np.float32)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an official name."""
    return large(name, shape)


def layout() -> Sequence[Entry]:
    """Official names and ours."""
    renamed = {
        "patch_embed.proj.weight": _embedding(),
        "patch_embed.proj.bias": {"name": "mask_embed.proj.bias"},
        "decoder_pred.weight": {"path": "decoder/head_cells/kernel"},
        "decoder_pred.bias": {"path": "decoder/head_cells/bias"},
    }
    entries = [*LAYOUT.encoder((1, 1, 1), ENCODER[0]), *LAYOUT.decoder(DECODER[0])]
    return [entry._replace(**renamed.get(entry.name, {})) for entry in entries]


def _embedding() -> dict:
    """A convolution over one value, [width, 1, 1], where ours is a dense layer, [1, width]."""
    return {
        "name": "mask_embed.proj.weight",
        "theirs_of": lambda a: a.reshape(-1, 1, 1),
        "ours_of": lambda a, shape: a.reshape(shape),
    }
