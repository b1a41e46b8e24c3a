"""A tiny CAPI with given weights, pictures and masks, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, convolution, kernel, tensor, vector
from maskmim.types import Mask
from tests.golden.official_weights import drawn

GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES = 16, 4, 6
DEPTH, DECODER_DEPTH, WIDTH, HEADS, REGISTERS = 2, 2, 16, 2, 4
CLUSTERS = 10
GRID = (IMAGE // PATCH,) * 2
TARGET, STUDENT, ITERATIONS = 0.06, 0.12, 3
EVERY = 3  # Of the gradients every third number is stored.
SCORES = (5, 12, 7)  # places, examples, clusters


def pictures() -> np.ndarray:
    """Normalised inputs f32[B, 3, H, W]."""
    rng = np.random.RandomState(0)
    return rng.standard_normal((EXAMPLES, 3, IMAGE, IMAGE)).astype(np.float32)


def scores() -> np.ndarray:
    """Scores of places, examples and clusters, f32[places, examples, clusters], far apart."""
    return 8 * np.random.RandomState(2).standard_normal(SCORES).astype(np.float32)


def mask() -> Mask:
    """Rectangles of 2 x 3 tokens, shifted around the grid, and four of the hidden tokens."""
    tokens = np.arange(16).reshape(GRID)
    rng = np.random.RandomState(1)
    shifts = [(0, 0), (2, 1), (3, 3), (1, 0), (0, 2), (2, 2)]
    visible = [np.sort(np.roll(tokens, shift, (0, 1))[:2, :3].reshape(-1)) for shift in shifts]
    left = [np.setdiff1d(np.arange(16), row) for row in visible]
    predict = np.stack([np.sort(rng.permutation(row)[:4]) for row in left]).astype(np.int32)
    hidden = np.ones((EXAMPLES, 16), bool)
    np.put_along_axis(hidden, np.stack(visible), False, axis=1)
    visible = np.stack(visible).astype(np.int32)
    return Mask(visible, predict, hidden, np.ones(predict.shape, np.float32))


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an official name: large random numbers, factors of norms around 1."""
    numbers = drawn(name, shape)
    factor = ("norm" in name and name.endswith("weight")) or name.endswith("_g")
    return (1 + 0.2 * numbers if factor else 0.4 * numbers).astype(np.float32)


def layout() -> Sequence[Entry]:
    """Official names and ours; rotary frequencies are no parameters here."""
    return [
        convolution("patch_embed.weight", "encoder/embed/kernel", (PATCH, PATCH, 3)),
        vector("patch_embed.bias", "encoder/embed/bias"),
        tensor("registers", "encoder/registers"),
        *(entry for layer in range(DEPTH) for entry in _block("encoder", layer)),
        tensor("mask_token", "decoder/mask_token"),
        *(entry for layer in range(DECODER_DEPTH) for entry in _block("decoder", layer)),
        kernel("head.last_layer.weight_v", "decoder/head_clusters/kernel"),
        vector("head.last_layer.weight_g", "decoder/head_clusters/scale"),
        kernel("clusters.layer.weight", "clusters/kernel"),
        vector("clusters.layer.bias", "clusters/bias"),
    ]


def _block(part: str, layer: int) -> Sequence[Entry]:
    name, here, at = f"{part}.blocks.{layer}", f"{part}/blocks", (layer,)
    maps = {
        "residual1.fn.q_proj": ("attention/query", 1),
        "residual1.fn.k_proj": ("attention/key", 1),
        "residual1.fn.v_proj": ("attention/value", 1),
        "residual1.fn.proj": ("attention/out", 2),
        "residual2.fn.fc1": ("mlp/up", 1),
        "residual2.fn.fc2": ("mlp/down", 1),
    }
    return [
        *(
            vector(f"{name}.residual{n}.norm.weight", f"{here}/norm{n}/norm/scale", at)
            for n in (1, 2)
        ),
        *(
            kernel(f"{name}.{there}.weight", f"{here}/{ours}/kernel", at, inputs=inputs)
            for there, (ours, inputs) in maps.items()
        ),
    ]
