"""A tiny BEiT v2 and its tokenizer with given weights, for the official models and for ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, convolution, kernel, linear, norm, tensor, vector
from tests.golden.official_weights import large

GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES = 16, 4, 2
GRID = (IMAGE // PATCH, IMAGE // PATCH)
ENCODER = (2, 8, 2)  # depth, width, heads
LAYER, AGGREGATING, CODES, HIDDEN = 1, 2, 6, 7
READER, WIDTH, VALUES = 1, 4, 5  # blocks, values of a code, values of a teacher's feature
BOOK, DECAY = 24, 0.9
SAMPLES, CLUSTERS = 60, 8


def pictures() -> np.ndarray:
    """f32[B, H, W, 3] in [0, 1]; the networks here see them minus 0.5, over 0.5."""
    rng = np.random.RandomState(0)
    return rng.uniform(size=(EXAMPLES, IMAGE, IMAGE, 3)).astype(np.float32)


def hidden() -> np.ndarray:
    """Which tokens are hidden: bool[B, N], HIDDEN of each example."""
    rng = np.random.RandomState(1)
    order = np.stack([rng.permutation(GRID[0] * GRID[1]) for _ in range(EXAMPLES)])
    return order < HIDDEN


def codes() -> np.ndarray:
    """The code of every token: i32[B, N]."""
    rng = np.random.RandomState(2)
    return rng.randint(0, CODES, (EXAMPLES, GRID[0] * GRID[1])).astype(np.int32)


def features() -> np.ndarray:
    """A teacher's features f32[B, N, VALUES]."""
    rng = np.random.RandomState(3)
    return rng.standard_normal((EXAMPLES, GRID[0] * GRID[1], VALUES)).astype(np.float32)


def codebook() -> np.ndarray:
    """Codes f32[BOOK, WIDTH] of length 1."""
    drawn = np.random.RandomState(4).standard_normal((BOOK, WIDTH))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def samples() -> np.ndarray:
    """Vectors f32[SAMPLES, WIDTH] of length 1 for k-means."""
    drawn = np.random.RandomState(5).standard_normal((SAMPLES, WIDTH))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an official name; keys have no bias there: 0."""
    found = large(name, shape)
    return np.zeros_like(found) if name.endswith("k_bias") else found


def pretraining() -> Sequence[Entry]:
    """Official names and ours of the network that predicts codes."""
    return [
        *_ends("", "encoder", PATCH, 3),
        tensor("mask_token", "encoder/mask_token"),
        Entry(
            "rel_pos_bias.relative_position_bias_table",
            "encoder/relative_bias",
            (),
            lambda a: a,
            lambda a, shape: a,
        ),
        *norm("norm", "encoder/norm"),
        *_blocks("blocks", "encoder/blocks", ENCODER[0], scaled=True),
        *_blocks("cls_pt_layers", "decoder/blocks", AGGREGATING, scaled=True),
        *linear("lm_head", "decoder/head_codes", ()),
    ]


def tokenizer() -> Sequence[Entry]:
    """Official names and ours of the tokenizer; positions are those of patches alone."""
    reader = "decoder/decoder"
    return [
        *_ends("encoder.", "encoder", PATCH, 3),
        tensor("encoder.pos_embed", "encoder/positions"),
        *norm("encoder.fc_norm", "encoder/norm"),
        *_blocks("encoder.blocks", "encoder/stack/blocks", ENCODER[0]),
        *linear("encode_task_layer.0", "decoder/shorten_hidden", ()),
        *linear("encode_task_layer.2", "decoder/shorten", ()),
        *_ends("decoder.", reader, 1, WIDTH),
        tensor("decoder.pos_embed", f"{reader}/positions"),
        *norm("decoder.fc_norm", f"{reader}/norm"),
        *_blocks("decoder.blocks", f"{reader}/stack/blocks", READER),
        *linear("decode_task_layer.0", "decoder/read_hidden", ()),
        *linear("decode_task_layer.2", "decoder/read", ()),
    ]


def _ends(there: str, here: str, patch: int, channels: int) -> Iterator[Entry]:
    projection = f"{there}patch_embed.proj"
    yield tensor(f"{there}cls_token", f"{here}/class_token")
    yield convolution(f"{projection}.weight", f"{here}/embed/kernel", (patch, patch, channels))
    yield vector(f"{projection}.bias", f"{here}/embed/bias")


def _blocks(there: str, here: str, depth: int, *, scaled: bool = False) -> Iterator[Entry]:
    for layer in range(depth):
        name, at = f"{there}.{layer}", (layer,)
        yield from norm(f"{name}.norm1", f"{here}/norm1", at)
        yield from norm(f"{name}.norm2", f"{here}/norm2", at)
        yield kernel(f"{name}.attn.qkv.weight", f"{here}/attention/qkv/kernel", at)
        for place, role in enumerate("qkv"):
            yield vector(f"{name}.attn.{role}_bias", f"{here}/attention/qkv/bias", (layer, place))
        yield from linear(f"{name}.attn.proj", f"{here}/attention/out", at, inputs=2)
        yield from linear(f"{name}.mlp.fc1", f"{here}/mlp/up", at)
        yield from linear(f"{name}.mlp.fc2", f"{here}/mlp/down", at)
        if scaled:
            yield vector(f"{name}.gamma_1", f"{here}/scale1/scale", at)
            yield vector(f"{name}.gamma_2", f"{here}/scale2/scale", at)
