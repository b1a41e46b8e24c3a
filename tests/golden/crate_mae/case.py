"""A tiny CRATE-MAE with given weights, pictures and noise, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, convolution, kernel, linear, norm, tensor, vector
from tests.golden.official_weights import large as weight

__all__ = ["weight"]

GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES = 16, 4, 2
SIZE = (2, 16, 2)  # depth, width, heads
RATIO = 0.75


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
    """Official names and ours, without what is fixed and without decoder_embed, which is unused."""
    return [
        tensor("cls_token", "encoder/class_token"),
        tensor("mask_token", "encoder/mask_token"),
        convolution("patch_embed.proj.weight", "encoder/embed/kernel", (PATCH, PATCH, 3)),
        vector("patch_embed.proj.bias", "encoder/embed/bias"),
        *(entry for layer in range(SIZE[0]) for entry in _encoder_block(layer)),
        *norm("norm", "encoder/norm"),
        *(entry for layer in range(SIZE[0]) for entry in _decoder_block(layer)),
        *norm("decoder_norm", "decoder/norm"),
        *linear("decoder_pred", "decoder/head_pixels"),
    ]


def _encoder_block(layer: int) -> Sequence[Entry]:
    name, here = f"blocks.{layer}.layers.0", "encoder/blocks"
    return [
        *norm(f"{name}.0.norm", f"{here}/norm1", (layer,)),
        *_attention(f"{name}.0.fn", f"{here}/attention", layer),
        *norm(f"{name}.1.norm", f"{here}/norm2", (layer,)),
        kernel(f"{name}.1.fn.weight", f"{here}/sparsify/dictionary", (layer,)),
    ]


def _decoder_block(layer: int) -> Sequence[Entry]:
    name, here = f"decoder_blocks.{layer}.layers.0", "decoder/blocks"
    return [
        *norm(f"{name}.0.norm", f"{here}/norm1", (layer,)),
        kernel(f"{name}.0.fn.weight", f"{here}/dictionary/kernel", (layer,)),
        *norm(f"{name}.1.norm", f"{here}/norm2", (layer,)),
        *_attention(f"{name}.1.fn", f"{here}/attention", layer),
    ]


def _attention(name: str, here: str, layer: int) -> Sequence[Entry]:
    return [
        kernel(f"{name}.qkv.weight", f"{here}/subspaces/kernel", (layer,)),
        *linear(f"{name}.to_out.0", f"{here}/out", (layer,), inputs=2),
    ]
