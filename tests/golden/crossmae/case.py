"""A tiny CrossMAE with given weights, pictures and noise, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, kernel, tensor, vector
from maskmim.interop.mae_official import LAYOUT
from tests.golden.official_weights import large

weight = large
GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES = 16, 4, 3
ENCODER = (3, 8, 2)  # depth, width, heads
DECODER = (2, 8, 4)
RATIO = 0.75
KEPT = (0.25, 0.75)  # official kept_mask_ratio: the share of all tokens that is predicted


def pictures() -> np.ndarray:
    """Normalised inputs f32[B, 3, H, W]."""
    rng = np.random.RandomState(0)
    return rng.standard_normal((EXAMPLES, 3, IMAGE, IMAGE)).astype(np.float32)


def noise() -> np.ndarray:
    """What the official masking sorts: f32[B, N]; the smallest values are visible."""
    length = (IMAGE // PATCH) ** 2
    rng = np.random.RandomState(1)
    return np.stack([rng.permutation(length) for _ in range(EXAMPLES)]).astype(np.float32) / length


def layout() -> Sequence[Entry]:
    """Official names and ours. The official encoder has no last norm in this configuration."""
    encoder = LAYOUT.encoder((PATCH, PATCH, 3), ENCODER[0])
    return [
        *(entry for entry in encoder if not entry.path.startswith("encoder/norm/")),
        *(entry for layer in range(DECODER[0]) for entry in _block(layer)),
        tensor("mask_token", "decoder/mask_token"),
        tensor("wfm.linear.weight", "decoder/mix"),
        vector("decoder_norm.weight", "decoder/norm/norm/scale"),
        vector("decoder_norm.bias", "decoder/norm/norm/bias"),
        kernel("decoder_pred.weight", "decoder/head_pixels/kernel"),
        vector("decoder_pred.bias", "decoder/head_pixels/bias"),
    ]


def _block(layer: int) -> Sequence[Entry]:
    name, here, at = f"decoder_blocks.{layer}", "decoder/blocks", (layer,)
    norms = {f"{name}.norm1": "norm1", f"{name}.norm2": "norm2", f"dec_norms.{layer}": "norm_seen"}
    maps = {
        "cross_attn.q": ("attention/query", 1),
        "cross_attn.kv": ("attention/kv", 1),
        "cross_attn.proj": ("attention/out", 2),
        "mlp.fc1": ("mlp/up", 1),
        "mlp.fc2": ("mlp/down", 1),
    }
    return [
        *(
            vector(f"{there}.weight", f"{here}/{ours}/norm/scale", at)
            for there, ours in norms.items()
        ),
        *(vector(f"{there}.bias", f"{here}/{ours}/norm/bias", at) for there, ours in norms.items()),
        *(
            kernel(f"{name}.{there}.weight", f"{here}/{ours}/kernel", at, inputs=inputs)
            for there, (ours, inputs) in maps.items()
        ),
        *(
            vector(f"{name}.{there}.bias", f"{here}/{ours}/bias", at)
            for there, (ours, _) in maps.items()
        ),
    ]
