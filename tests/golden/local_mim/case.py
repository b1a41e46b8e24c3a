"""A tiny LocalMIM with given weights, pictures and noise, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.blocks import stack_entries
from maskmim.interop.layout import Entry, linear, norm, tensor, vector
from maskmim.interop.mae_official import BLOCK, LAYOUT
from tests.golden.official_weights import large

GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES = 64, 16, 2
ENCODER = (7, 8, 2)  # depth, width, heads; with 7 blocks the official taps are 2, 4, 5 and 7
DECODER = (1, 8, 2)
RATIO = 0.75
TAPS = {"quarter": 2, "half": 4, "whole": 5, "double": 7}
BINS, MANY_BINS = 9, 18
SHIFT = (0.25, -0.125)  # of the gradients, with MANY_BINS
EVERY = 3  # Of the gradients every third number is stored.


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Large random weights; the norm between transposed convolutions has no 'norm' in its name."""
    return large(f"norm {name}" if name.endswith("pred.1.weight") else name, shape)


def pictures() -> np.ndarray:
    """Inputs f32[B, 3, H, W], rounded so that sums of a few of them are exact."""
    values = np.random.RandomState(0).standard_normal((EXAMPLES, 3, IMAGE, IMAGE))
    return values.astype(np.float16).astype(np.float32)


def noise() -> np.ndarray:
    """What the official masking sorts: f32[B, N]; the smallest values are visible."""
    length = (IMAGE // PATCH) ** 2
    rng = np.random.RandomState(1)
    return np.stack([rng.permutation(length) for _ in range(EXAMPLES)]).astype(np.float32) / length


def layout() -> Sequence[Entry]:
    """Official names and ours; the last of the official norms is our encoder's."""
    encoder = LAYOUT.encoder((PATCH, PATCH, 3), ENCODER[0])
    return [
        *(entry for entry in encoder if not entry.path.startswith("encoder/norm/")),
        *norm("norm.3", "encoder/norm"),
        *(
            entry
            for number, scale in enumerate(("quarter", "half", "whole"))
            for entry in norm(f"norm.{number}", f"decoder/{scale}_norm")
        ),
        *(entry for number, scale in enumerate(TAPS) for entry in _decoder(number, scale)),
    ]


def _decoder(number: int, scale: str) -> Sequence[Entry]:
    theirs, ours = f"decoder.{number}", f"decoder/{scale}"
    entries = [
        tensor(f"{theirs}.mask_token", f"{ours}/mask_token"),
        *linear(f"{theirs}.embed", f"{ours}/embed"),
        *stack_entries(BLOCK, f"{theirs}.blocks", f"{ours}/stack/blocks", DECODER[0]),
        *norm(f"{theirs}.norm", f"{ours}/norm"),
    ]
    if scale in ("quarter", "half"):
        entries += _transposed(f"{theirs}.pred.0", f"{ours}/divide0")
    if scale == "quarter":
        entries += norm(f"{theirs}.pred.1", f"{ours}/divided")
        entries += _transposed(f"{theirs}.pred.3", f"{ours}/divide1")
    last = f"{theirs}.pred.{(4, 1, 0, 1)[number]}"
    return [*entries, *_pointwise(last, f"{ours}/head_cells")]


def _transposed(theirs: str, ours: str) -> Sequence[Entry]:
    """A transposed convolution: [in, out, rows, columns] and [in, rows, columns, out]."""
    kernel = Entry(
        f"{theirs}.weight",
        f"{ours}/parts/kernel",
        (),
        lambda a: a.transpose(0, 3, 1, 2),
        lambda a, shape: a.transpose(0, 2, 3, 1).reshape(shape),
    )
    return [kernel, vector(f"{theirs}.bias", f"{ours}/bias")]


def _pointwise(theirs: str, ours: str) -> Sequence[Entry]:
    """A convolution of 1 x 1: [out, in, 1, 1] and [in, out]."""
    kernel = Entry(
        f"{theirs}.weight",
        f"{ours}/kernel",
        (),
        lambda a: a.T[:, :, None, None],
        lambda a, shape: a[:, :, 0, 0].T.reshape(shape),
    )
    return [kernel, vector(f"{theirs}.bias", f"{ours}/bias")]
