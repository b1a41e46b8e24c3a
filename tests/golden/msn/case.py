"""A tiny MSN with given weights, crops and permutation, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, kernel, linear, tensor, vector
from maskmim.interop.mae_official import LAYOUT
from maskmim.models.msn import vit_msn
from maskmim.types import Spec
from tests.golden.official_weights import drawn

GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, LOCAL, PATCH = 16, 8, 4
EXAMPLES, LARGE, SMALL = 5, 2, 3  # large crops besides the target's
DEPTH, WIDTH, HEADS = 2, 8, 2
HIDDEN, VALUES, CLUSTERS = 12, 6, 10
DROP = 0.3  # of 16 patches: 11 are visible
TEMPERATURE, SHARPENING = 0.1, 0.25
SPEC = Spec((IMAGE, IMAGE), 3, (0.0,) * 3, (1.0,) * 3, dtype="float32")
MODEL = partial(vit_msn, variant=f"{DEPTH}x{WIDTH}x{HEADS}", patch=(PATCH, PATCH))


def crops() -> tuple[np.ndarray, np.ndarray]:
    """Normalised large crops, the target first, and small ones: f32[B, V, H, W, 3] each."""
    rng = np.random.RandomState(0)
    large = rng.standard_normal((EXAMPLES, 1 + LARGE, IMAGE, IMAGE, 3))
    small = rng.standard_normal((EXAMPLES, SMALL, LOCAL, LOCAL, 3))
    return large.astype(np.float32), small.astype(np.float32)


def permutation() -> np.ndarray:
    """The permutation of the tokens of large anchors, of which the first are visible."""
    return np.random.RandomState(1).permutation((IMAGE // PATCH) ** 2)


def weight(who: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an official name for the student or the average.

    Large random numbers, norms' around 1. The class token's own position is 0: ours has none.
    """
    numbers = drawn(f"{who} {name}", shape)
    norm = name.endswith("weight") and len(shape) == 1
    found = (1 + 0.2 * numbers if norm else 0.4 * numbers).astype(np.float32)
    if name == "pos_embed":
        found[:, 0] = 0
    return found


def layout() -> Sequence[Entry]:
    """Official names and ours; of pos_embed the tokens' rows alone."""
    head = [
        entry
        for number in range(3)
        for entry in linear(f"fc.fc{number + 1}", f"projector/dense_{number}")
    ]
    norms = [
        vector(f"fc.bn{number + 1}.{theirs}", f"projector/norm_{number}/{ours}")
        for number in range(2)
        for theirs, ours in (("weight", "scale"), ("bias", "bias"))
    ]
    return [
        *LAYOUT.encoder((PATCH, PATCH, 3), DEPTH),
        tensor("pos_embed", "encoder/positions", lead=1),
        *head,
        *norms,
        kernel("prototypes", "prototypes/kernel"),
    ]


def weight_without_class_row(who: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """As `weight`, of pos_embed the tokens' rows: of the official table of one row more."""
    if name != "pos_embed":
        return weight(who, name, shape)
    return weight(who, name, (1, shape[1] + 1, shape[2]))[:, 1:]
