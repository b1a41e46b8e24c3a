"""A tiny DMJD with given weights and pictures, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop import mae_official
from maskmim.interop.blocks import stack_entries
from maskmim.interop.layout import Entry, linear, norm, tensor, vector
from tests.golden.convmae.case import stage_entries
from tests.golden.official_weights import large as weight

__all__ = ["weight"]

GOLDEN = Path(__file__).with_name("values.npz")
GRID = 14  # tokens along a side: the official masks are written for 14 x 14
PATCH, EXAMPLES = 1, 2
WIDTHS, DEPTHS, HEADS = (4, 6, 8), (2, 1, 2), 2
DECODER = (1, 8, 2)  # depth, width, heads
IMAGE = 4 * PATCH * GRID
CHANNELS, BINS, CELL = 3, 9, 2
ORDER = (CHANNELS, BINS, 2, 2)  # of our values: channel, bin, row, column
VALUES = CHANNELS * BINS * 4
RATIO = 0.6
SOME = 13  # of so many tokens one is stored
MEAN, STD = 0.5, 0.25


def pictures() -> np.ndarray:
    """Pictures u8[B, H, W, 3]: noise, and parts of one colour, which have no gradient."""
    made = np.random.RandomState(0).randint(0, 256, (EXAMPLES, IMAGE, IMAGE, CHANNELS))
    made[:, : IMAGE // 4, : IMAGE // 2] = 77
    return made.astype(np.uint8)


def official_order() -> np.ndarray:
    """Our place of each value in the official order: row, column, bin, channel."""
    return np.arange(VALUES).reshape(ORDER).transpose(2, 3, 1, 0).reshape(-1)


def layout() -> Sequence[Entry]:
    """Official names and ours."""
    return [
        *stage_entries(WIDTHS, DEPTHS, fusing="encoder"),
        tensor("mask_token", "decoder/mask_token"),
        *linear("decoder_embed", "decoder/embed"),
        *stack_entries(mae_official.BLOCK, "decoder_blocks", "decoder/stack/blocks", DECODER[0]),
        *norm("decoder_norm", "decoder/norm"),
        *_ordered("decoder_pred", "decoder/head_hog"),
        *(entry for layer in (0, 1, 2) for entry in linear(f"proj_embed.{3 * layer}", _of(layer))),
        *(entry for layer in (0, 1) for entry in _projected_norm(layer)),
        *_ordered("predictor.0", "distil/dense_last"),
    ]


def _of(layer: int) -> str:
    return f"distil/dense_{layer}"


def _projected_norm(layer: int) -> Sequence[Entry]:
    theirs, ours = f"proj_embed.{3 * layer + 1}", f"distil/norm_{layer}"
    return vector(f"{theirs}.weight", f"{ours}/scale"), vector(f"{theirs}.bias", f"{ours}/bias")


def _ordered(name: str, path: str) -> Sequence[Entry]:
    """A linear map whose values come in the official order."""
    theirs = official_order()
    ours = np.argsort(theirs)
    return [
        Entry(
            f"{name}.weight", f"{path}/kernel", (), lambda a: a.T[theirs], lambda a, _: a[ours].T
        ),
        Entry(f"{name}.bias", f"{path}/bias", (), lambda a: a[theirs], lambda a, _: a[ours]),
    ]
