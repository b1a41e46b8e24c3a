"""A tiny MAE-ST with given weights, clips and noise, for the official code and for ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, tensor
from maskmim.interop.mae_official import LAYOUT
from tests.golden.official_weights import drawn
from tests.golden.official_weights import large as weight

__all__ = ["weight"]

GOLDEN = Path(__file__).with_name("values.npz")
SIZE, PATCH, GRID = (8, 12, 12), (2, 4, 4), (4, 3, 3)
EXAMPLES = 2
TOKENS = int(np.prod(GRID))
ENCODER = (2, 16, 2)  # depth, width, heads
DECODER = (2, 8, 2)
RATIO = 0.75


def clips() -> np.ndarray:
    """Normalised inputs f32[B, T, H, W, 3]."""
    return drawn("clips", (EXAMPLES, *SIZE, 3)).astype(np.float32)


def noise() -> np.ndarray:
    """What the official masking sorts: f32[B, N]; the smallest values are visible."""
    rng = np.random.RandomState(1)
    return np.stack([rng.permutation(TOKENS) for _ in range(EXAMPLES)]).astype(np.float32)


def layout() -> Sequence[Entry]:
    """Official names and ours; their projections to queries, keys and values are joined."""
    entries = [
        *LAYOUT.encoder((PATCH[0] * PATCH[1], PATCH[2], 3), ENCODER[0]),
        *LAYOUT.decoder(DECODER[0]),
        tensor("decoder_cls_token", "decoder/class_token"),
    ]
    for theirs, ours in (("pos_embed", "encoder"), ("decoder_pos_embed", "decoder")):
        entries += [
            tensor(f"{theirs}_spatial", f"{ours}/space_positions", lead=1),
            tensor(f"{theirs}_temporal", f"{ours}/time_positions", lead=1),
            tensor(f"{theirs}_class", f"{ours}/class_positions"),
        ]
    return entries


def split(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weight of an official parameter, which may be a third of a joined one."""
    joined, part = joined_name(name)
    if part is None:
        return weight(name, shape)
    return np.split(weight(joined, (3 * shape[0], *shape[1:])), 3)[part]


def joined(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Official arrays as `layout` names them; frames and rows of the convolution are joined."""
    found: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        whole, part = joined_name(name)
        if array.ndim == 5:
            array = array.reshape(*array.shape[:2], -1, PATCH[2])
        if part == 0:
            parts = [arrays[name.replace("attn.q", f"attn.{one}")] for one in "qkv"]
            array = np.concatenate(parts)
        if part in (None, 0):
            found[whole] = array
    return found


def joined_name(name: str) -> tuple[str, int | None]:
    """The name of the joined projection and the number of its part; None for other names."""
    for part, one in enumerate("qkv"):
        if f"attn.{one}." in name:
            return name.replace(f"attn.{one}.", "attn.qkv."), part
    return name, None
