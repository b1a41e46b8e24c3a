"""A tiny VideoMAE V2 with given weights and clips, for the official code and for ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry
from maskmim.interop.mae_official import LAYOUT
from tests.golden.official_weights import large

weight = large
GOLDEN = Path(__file__).with_name("values.npz")
SIZE, PATCH, GRID = (4, 16, 16), (2, 4, 4), (2, 4, 4)
EXAMPLES = 2
ENCODER = (2, 8, 2)  # depth, width, heads
DECODER = (2, 8, 4)
RATIO, DECODED = 0.75, 0.5
# Names here and what the same parts are called in MAE's layout.
RENAMED = (
    (r"^(patch_embed|blocks|norm)\.", r"encoder.\1."),
    (r"^decoder_embed\.", "encoder_to_decoder."),
    (r"^decoder_blocks\.", "decoder.blocks."),
    (r"^decoder_norm\.", "decoder.norm."),
    (r"^decoder_pred\.", "decoder.head."),
)


def clips() -> np.ndarray:
    """Clips u8[B, T, H, W, 3]."""
    rng = np.random.RandomState(0)
    return rng.randint(0, 256, (EXAMPLES, *SIZE, 3)).astype(np.uint8)


def layout() -> Sequence[Entry]:
    """Official names and ours; frames and rows of the official convolution are joined."""
    rows = (PATCH[0] * PATCH[1], PATCH[2], 3)
    entries = [*LAYOUT.encoder(rows, ENCODER[0]), *LAYOUT.decoder(DECODER[0])]
    left_out = ("cls_token", "decoder_embed.bias")
    return [e._replace(name=_renamed(e.name)) for e in entries if e.name not in left_out]


def with_key_biases(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Official arrays (weights or gradients) as `layout` names them: key biases are 0."""
    joined = {}
    for name, array in arrays.items():
        if name.endswith("q_bias"):
            value = arrays[name.replace("q_bias", "v_bias")]
            name = name.replace("q_bias", "qkv.bias")
            joined[name] = np.concatenate([array, np.zeros_like(array), value])
        elif array.ndim == 5:
            joined[name] = array.reshape(*array.shape[:2], -1, PATCH[2])
        elif not name.endswith("v_bias"):
            joined[name] = array
    return joined


def _renamed(name: str) -> str:
    for pattern, replacement in RENAMED:
        name, changed = re.subn(pattern, replacement, name)
        if changed:
            break
    return name
