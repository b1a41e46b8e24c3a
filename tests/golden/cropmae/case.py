"""A tiny CropMAE with given weights, pairs of views and noise, for the official model and ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, kernel, linear, norm, tensor, vector
from maskmim.interop.mae_official import LAYOUT
from tests.golden.official_weights import large

weight = large
GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES = 16, 4, 3
ENCODER = (2, 8, 2)  # depth, width, heads
DECODER = (2, 12, 3)
HIDDEN = 20  # hidden units of the decoder's feed-forward layers
RATIO = 0.875  # 2 of 16 tokens are visible
DRAWS = 20_000  # of dropout, for each example


def views() -> np.ndarray:
    """Normalised views f32[B, 2, 3, H, W]; the first is seen whole."""
    rng = np.random.RandomState(0)
    return rng.standard_normal((EXAMPLES, 2, 3, IMAGE, IMAGE)).astype(np.float32)


def noise() -> np.ndarray:
    """What the official masking sorts: f32[B, N]; the smallest values are visible."""
    length = (IMAGE // PATCH) ** 2
    rng = np.random.RandomState(1)
    return np.stack([rng.permutation(length) for _ in range(EXAMPLES)]).astype(np.float32) / length


def layout() -> Sequence[Entry]:
    """Official names and ours."""
    return [
        *LAYOUT.encoder((PATCH, PATCH, 3), ENCODER[0]),
        tensor("mask_token", "decoder/mask_token"),
        *linear("decoder_embed", "decoder/embed"),
        *(entry for layer in range(DECODER[0]) for entry in _block(layer)),
        *norm("decoder_norm", "decoder/norm"),
        *linear("decoder_pred", "decoder/head_pixels"),
    ]


def _block(layer: int) -> Sequence[Entry]:
    name, here, at = f"decoder_blocks.{layer}", "decoder/blocks", (layer,)
    return [
        *_attention(f"{name}.multihead_attn", f"{here}/cross_attention", at),
        *norm(f"{name}.norm2", f"{here}/norm_cross", at),
        *linear(f"{name}.linear1", f"{here}/mlp/up", at),
        *linear(f"{name}.linear2", f"{here}/mlp/down", at),
        *norm(f"{name}.norm3", f"{here}/norm_mlp", at),
        *_attention(f"{name}.self_attn", f"{here}/self_attention", at),
        *norm(f"{name}.norm1", f"{here}/norm_self", at),
    ]


def _attention(name: str, here: str, at: tuple) -> Sequence[Entry]:
    """Torch keeps queries, keys and values in one array; `split` names its thirds apart."""
    query, seen = f"{here}/query", f"{here}/kv"
    return [
        kernel(f"{name}.query.weight", f"{query}/kernel", at),
        vector(f"{name}.query.bias", f"{query}/bias", at),
        kernel(f"{name}.kv.weight", f"{seen}/kernel", at),
        vector(f"{name}.kv.bias", f"{seen}/bias", at),
        *linear(f"{name}.out_proj", f"{here}/out", at, inputs=2),
    ]


def split(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Split torch's in_proj_weight and in_proj_bias into those of queries and of keys and values.

    Returns arrays of the layout's names from arrays of the official names.
    """
    parts = {}
    for name, array in arrays.items():
        attention, _, kind = name.rpartition(".in_proj_")
        if attention:
            width = len(array) // 3
            parts |= {
                f"{attention}.query.{kind}": array[:width],
                f"{attention}.kv.{kind}": array[width:],
            }
        else:
            parts[name] = array
    return parts
