"""A tiny data2vec 2.0 with given weights, pictures and masks, for the official model and ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.blocks import BlockNames, block_entries
from maskmim.interop.layout import Entry, convolution, linear, norm, tensor, vector
from tests.golden.official_weights import large

GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES, MASKS = 16, 4, 2, 2
PRENET, DEPTH, WIDTH, HEADS = 1, 2, 8, 2
LAYERS, SIDE, GROUPS = 2, 3, 2  # of the decoder
TOP, VISIBLE, CLASS = 2, 4, 0.01
ROOT = "modality_encoders.IMAGE"
BLOCK = BlockNames("norm1", ("attn.qkv",), "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


def weight(name: str, shape: tuple[int, ...], *, of: str = "student") -> np.ndarray:
    """The array of an official name, of the student or of its average."""
    return large(name if of == "student" else f"{of}.{name}", shape)


def pictures() -> np.ndarray:
    """Normalised inputs f32[B, 3, H, W]."""
    rng = np.random.RandomState(0)
    return rng.standard_normal((EXAMPLES, 3, IMAGE, IMAGE)).astype(np.float32)


def hidden() -> np.ndarray:
    """Masks bool[B, MASKS, N]."""
    rng, length = np.random.RandomState(1), (IMAGE // PATCH) ** 2
    orders = [rng.permutation(length) for _ in range(EXAMPLES * MASKS)]
    return np.stack(orders).reshape(EXAMPLES, MASKS, length) >= VISIBLE


def convolution_entry(name: str, path: str) -> Entry:
    """A grouped convolution: theirs [out, in / groups, h, w], ours [in, h, w, out / groups]."""

    def theirs(a: np.ndarray) -> np.ndarray:
        split = a.reshape(GROUPS, -1, *a.shape[1:])
        return split.transpose(0, 4, 1, 2, 3).reshape(-1, *split.shape[1:4])

    def ours(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        split = a.reshape(GROUPS, -1, *a.shape[1:])
        return split.transpose(0, 2, 3, 4, 1).reshape(shape)

    return Entry(name, path, (), theirs, ours)


def encoder() -> Iterator[Entry]:
    """Official names and ours, of what the average has too."""
    yield tensor(f"{ROOT}.extra_tokens", "encoder/class_token")
    embed = f"{ROOT}.local_encoder.proj"
    yield convolution(f"{embed}.weight", "encoder/embed/kernel", (PATCH, PATCH, 3))
    yield vector(f"{embed}.bias", "encoder/embed/bias")
    yield from norm(f"{ROOT}.context_encoder.norm", "encoder/first_norm")
    for layer in range(PRENET + DEPTH):
        before = f"{ROOT}.context_encoder.blocks.{layer}"
        name = before if layer < PRENET else f"blocks.{layer - PRENET}"
        yield from block_entries(BLOCK, name, "encoder/blocks", layer)


def layout() -> Sequence[Entry]:
    """Official names and ours."""
    decoder = f"{ROOT}.decoder"
    return [
        *encoder(),
        *(
            entry
            for layer in range(LAYERS)
            for entry in (
                convolution_entry(
                    f"{decoder}.blocks.{layer}.0.weight", f"decoder/conv_{layer}/kernel"
                ),
                vector(f"{decoder}.blocks.{layer}.0.bias", f"decoder/conv_{layer}/bias"),
            )
        ),
        *linear(f"{decoder}.proj", "decoder/head_features"),
    ]
