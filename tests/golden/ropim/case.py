"""A tiny ROPIM with given weights and pictures, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, convolution, kernel, linear, norm, tensor, vector
from tests.golden.official_weights import large

GOLDEN = Path(__file__).with_name("values.npz")
# The official sketch needs an even number of tokens that ceil(0.14 N) divides: 36 in 6 buckets.
IMAGE, PATCH, EXAMPLES = 24, 4, 2
ENCODER = (2, 16, 2)  # depth, width, heads
FACTOR = 0.14


def pictures() -> np.ndarray:
    """Normalised inputs f32[B, H, W, 3]."""
    rng = np.random.RandomState(0)
    return rng.standard_normal((EXAMPLES, IMAGE, IMAGE, 3)).astype(np.float32)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an official name; keys have no bias there: 0."""
    found = large(name, shape)
    return np.zeros_like(found) if name.endswith("k_bias") else found


def layout() -> Sequence[Entry]:
    """Official names and ours; 'k_bias' is no parameter there."""
    patch = (PATCH, PATCH, 3)
    return [
        tensor("encoder.cls_token", "encoder/class_token"),
        convolution("encoder.patch_embed.proj.weight", "encoder/embed/kernel", patch),
        vector("encoder.patch_embed.proj.bias", "encoder/embed/bias"),
        tensor("encoder.rel_pos_bias.relative_position_bias_table", "encoder/relative_bias"),
        *(entry for layer in range(ENCODER[0]) for entry in _block(layer)),
        *norm("encoder.norm", "encoder/norm"),
        Entry("decoder.0.weight", "decoder/head_pixels/kernel", (), _their_head, _our_head),
        Entry("decoder.0.bias", "decoder/head_pixels/bias", (), _their_bias, _our_bias),
    ]


def _block(layer: int) -> Iterator[Entry]:
    name, here, at = f"encoder.blocks.{layer}", "encoder/blocks", (layer,)
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


# Values of a patch are ordered by channel, row, column there, by row, column, channel here.
def _their_head(a: np.ndarray) -> np.ndarray:
    return a.reshape(-1, PATCH, PATCH, 3).transpose(3, 1, 2, 0).reshape(-1, len(a), 1, 1)


def _our_head(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return a.reshape(3, PATCH, PATCH, -1).transpose(3, 1, 2, 0).reshape(shape)


def _their_bias(a: np.ndarray) -> np.ndarray:
    return a.reshape(PATCH, PATCH, 3).transpose(2, 0, 1).reshape(-1)


def _our_bias(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return a.reshape(3, PATCH, PATCH).transpose(1, 2, 0).reshape(shape)
