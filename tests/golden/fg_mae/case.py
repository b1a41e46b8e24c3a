"""A tiny FG-MAE with given weights, pictures and noise, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, linear
from maskmim.interop.mae_official import LAYOUT
from tests.golden.official_weights import large

weight = large
GOLDEN = Path(__file__).with_name("values.npz")
# The official layer cuts its cells for 14 x 14 patches, and the official heads have the widths of
# 13 bands and patches of 16 pixels.
IMAGE, PATCH, EXAMPLES, BANDS = 224, 16, 1, 13
ENCODER = (1, 8, 2)  # depth, width, heads
DECODER = (1, 8, 2)
RATIO = 0.7
HIDDEN = 138  # 196 - int(196 * (1 - 0.7)) of the official masking
EVERY = 61  # Of arrays every so many numbers are stored.
OTHER_PATCH, OTHER_BANDS = 14, 2  # of a second case, of targets alone: ViT-H/14 on SAR


def pictures(bands: int = BANDS) -> np.ndarray:
    """Inputs f32[B, bands, H, W] in [0, 1]; their steps make sums of a few of them exact."""
    levels = np.random.RandomState(0).randint(0, 256, (EXAMPLES, bands, IMAGE, IMAGE))
    return (levels / 256).astype(np.float32)


def noise() -> np.ndarray:
    """What the official masking sorts: f32[B, N]; the smallest values are visible."""
    length = (IMAGE // PATCH) ** 2
    rng = np.random.RandomState(1)
    return np.stack([rng.permutation(length) for _ in range(EXAMPLES)]).astype(np.float32) / length


def layout() -> Sequence[Entry]:
    """Official names and ours."""
    decoder = LAYOUT.decoder(DECODER[0])
    return [
        *LAYOUT.encoder((PATCH, PATCH, BANDS), ENCODER[0]),
        *(entry for entry in decoder if "head_pixels" not in entry.path),
        *linear("decoder_pred", "decoder/head_hog"),
        *linear("decoder_pred2", "decoder/head_ndi"),
    ]
