"""A tiny Audio-MAE with given weights, spectrograms and noise, for the official model and ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, kernel, tensor, vector
from maskmim.interop.mae_official import LAYOUT
from tests.golden.official_weights import drawn

GOLDEN = Path(__file__).with_name("values.npz")
SIZE, PATCH, EXAMPLES = (24, 16), 2, 2
GRID = (SIZE[0] // PATCH, SIZE[1] // PATCH)
ENCODER = (2, 16, 2)  # depth, width, heads
DECODER = (4, 16, 4)
WINDOW, SHIFT = 4, 2
RATIO = 0.8


def spectrograms() -> np.ndarray:
    """Normalised inputs f32[B, time, mel]."""
    return np.random.RandomState(0).standard_normal((EXAMPLES, *SIZE)).astype(np.float32)


def noise() -> np.ndarray:
    """What the official masking sorts: f32[B, N]; the smallest values are visible."""
    length = GRID[0] * GRID[1]
    rng = np.random.RandomState(1)
    return np.stack([rng.permutation(length) for _ in range(EXAMPLES)]).astype(np.float32) / length


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an official name: large random numbers, scales around 1, tau at least 0.3."""
    numbers = drawn(name, shape)
    if name.endswith("tau"):
        return (0.3 + np.abs(numbers)).astype(np.float32)
    norm = "norm" in name and name.endswith("weight")
    return (1 + 0.2 * numbers if norm else 0.3 * numbers).astype(np.float32)


def told(name: str, gradient: np.ndarray) -> np.ndarray:
    """Two numbers for a gradient: its length, and its product with a random direction."""
    return np.array([np.linalg.norm(gradient), np.sum(gradient * weight(name, gradient.shape))])


def layout() -> Sequence[Entry]:
    """Official names and ours."""
    return [
        *LAYOUT.encoder((PATCH, PATCH, 1), ENCODER[0]),
        kernel("decoder_embed.weight", "decoder/embed/kernel"),
        vector("decoder_embed.bias", "decoder/embed/bias"),
        tensor("mask_token", "decoder/mask_token"),
        *(entry for layer in range(DECODER[0]) for entry in _block(layer)),
        vector("decoder_norm.weight", "decoder/norm/norm/scale"),
        vector("decoder_norm.bias", "decoder/norm/norm/bias"),
        kernel("decoder_pred.weight", "decoder/head_pixels/kernel"),
        vector("decoder_pred.bias", "decoder/head_pixels/bias"),
    ]


def _block(layer: int) -> Sequence[Entry]:
    pair, place = divmod(layer, 2)
    name, here, at = (
        f"decoder_blocks.{layer}",
        f"decoder/blocks/{('plain', 'shifted')[place]}",
        (pair,),
    )
    maps = {
        "attn.qkv": ("attention/qkv", 1),
        "attn.proj": ("attention/out", 2),
        "attn.meta_mlp.fc1": ("offset_mlp/up", 1),
        "attn.meta_mlp.fc2": ("offset_mlp/down", 1),
        "mlp.fc1": ("mlp/up", 1),
        "mlp.fc2": ("mlp/down", 1),
    }
    found = [vector(f"{name}.attn.tau", f"{here}/attention/scale", at)]
    for there, (ours, inputs) in maps.items():
        found.append(kernel(f"{name}.{there}.weight", f"{here}/{ours}/kernel", at, inputs=inputs))
        if (
            there != "attn.meta_mlp.fc2"
        ):  # its bias is equal for all keys: the softmax takes it away
            found.append(vector(f"{name}.{there}.bias", f"{here}/{ours}/bias", at))
    for norm in ("norm1", "norm2"):
        found.append(vector(f"{name}.{norm}.weight", f"{here}/{norm}/norm/scale", at))
        found.append(vector(f"{name}.{norm}.bias", f"{here}/{norm}/norm/bias", at))
    return found
