"""A tiny CAE with given weights, pictures, masks and codes, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, convolution, kernel, linear, norm, tensor, vector
from tests.golden.official_weights import large

GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES = 16, 4, 2
ENCODER = (2, 8, 2)  # depth, width, heads
REGRESSOR, DECODER, CODES = 2, 2, 6  # blocks, blocks, size of the vocabulary
GRID = (IMAGE // PATCH, IMAGE // PATCH)
HIDDEN = 8


def pictures() -> np.ndarray:
    """Normalised inputs f32[B, H, W, 3]."""
    rng = np.random.RandomState(0)
    return rng.standard_normal((EXAMPLES, IMAGE, IMAGE, 3)).astype(np.float32)


def hidden() -> np.ndarray:
    """Which tokens are hidden: bool[B, rows, columns], HIDDEN of each example."""
    rng = np.random.RandomState(1)
    order = np.stack([rng.permutation(GRID[0] * GRID[1]) for _ in range(EXAMPLES)])
    return (order < HIDDEN).reshape(EXAMPLES, *GRID)


def codes() -> np.ndarray:
    """The code of every token: i32[B, rows, columns]."""
    rng = np.random.RandomState(2)
    return rng.randint(0, CODES, (EXAMPLES, *GRID)).astype(np.int32)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an official name; keys have no bias there: 0."""
    found = large(name, shape)
    return np.zeros_like(found) if name.endswith("k_bias") else found


def layout() -> Sequence[Entry]:
    """Official names and ours; 'k_bias' is no parameter there."""
    return [
        tensor("encoder.cls_token", "encoder/class_token"),
        convolution("encoder.patch_embed.proj.weight", "encoder/embed/kernel", (PATCH, PATCH, 3)),
        vector("encoder.patch_embed.proj.bias", "encoder/embed/bias"),
        *_blocks("encoder.blocks", "encoder/stack/blocks", ENCODER[0]),
        *norm("encoder.norm", "encoder/norm"),
        tensor("mask_token", "decoder/mask_token"),
        *_regressor(),
        *norm("regresser.norm", "decoder/latent_norm"),
        *_blocks("decoder.decoder_blocks", "decoder/stack/blocks", DECODER),
        *norm("decoder.norm", "decoder/norm"),
        kernel("decoder.head.weight", "decoder/head_tokens/kernel"),
        vector("decoder.head.bias", "decoder/head_tokens/bias"),
    ]


def _blocks(there: str, here: str, depth: int) -> Iterator[Entry]:
    for layer in range(depth):
        name, at = f"{there}.{layer}", (layer,)
        yield from norm(f"{name}.norm1", f"{here}/norm1", at)
        yield kernel(f"{name}.attn.qkv.weight", f"{here}/attention/qkv/kernel", at)
        for place, part in enumerate("qkv"):
            yield vector(f"{name}.attn.{part}_bias", f"{here}/attention/qkv/bias", (layer, place))
        yield from linear(f"{name}.attn.proj", f"{here}/attention/out", at, inputs=2)
        yield from norm(f"{name}.norm2", f"{here}/norm2", at)
        yield from linear(f"{name}.mlp.fc1", f"{here}/mlp/up", at)
        yield from linear(f"{name}.mlp.fc2", f"{here}/mlp/down", at)
        for branch in (1, 2):
            yield vector(f"{name}.gamma_{branch}", f"{here}/scale{branch}/scale", at)


def _regressor() -> Iterator[Entry]:
    here, parts = "decoder/regressor_blocks", {"q": "query", "k": "key", "v": "value"}
    for layer in range(REGRESSOR):
        name, at = f"regresser.regressor_blocks.{layer}", (layer,)
        for part, ours in parts.items():
            yield from norm(f"{name}.norm1_{part}", f"{here}/norm_{ours}", at)
            read = f"{here}/attention/{ours}"
            yield kernel(f"{name}.cross_attn.{part}.weight", f"{read}/kernel", at)
            yield vector(f"{name}.cross_attn.{part}_bias", f"{read}/bias", at)
        yield from linear(f"{name}.cross_attn.proj", f"{here}/attention/out", at, inputs=2)
        yield from norm(f"{name}.norm2_cross", f"{here}/norm2", at)
        yield from linear(f"{name}.mlp_cross.fc1", f"{here}/mlp/up", at)
        yield from linear(f"{name}.mlp_cross.fc2", f"{here}/mlp/down", at)
        for branch in (1, 2):
            yield vector(f"{name}.gamma_{branch}_cross", f"{here}/scale{branch}/scale", at)
