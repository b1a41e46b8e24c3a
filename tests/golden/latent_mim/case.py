"""A tiny Latent MIM with given weights, pictures and masks, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.blocks import BlockNames, stack_entries
from maskmim.interop.layout import Entry, kernel, linear, norm, tensor, vector
from tests.golden.official_weights import large

GOLDEN = Path(__file__).with_name("values.npz")
SIDE, PATCH, GAP, EXAMPLES = 4, 4, 2, 3  # patches along an axis, pixels of a patch and of a gap
ENCODER = (2, 16, 2)  # depth, width, heads
PROJECTOR = (3, 24)  # layers, hidden
DECODER = (2, 12, 2)
VISIBLE = 5
TEMPERATURE, COSINE, SCALE = 0.2, 0.45, 1.0


def pictures() -> np.ndarray:
    """Normalised crops f32[B, H, W, 3] before patches are cut out of their cells."""
    rng = np.random.RandomState(0)
    side = SIDE * (PATCH + GAP)
    return rng.standard_normal((EXAMPLES, side, side, 3)).astype(np.float32)


def offsets() -> np.ndarray:
    """Where patches begin in their cells: i64[2, B, rows, columns], down and across."""
    rng = np.random.RandomState(1)
    return rng.randint(0, GAP, (2, EXAMPLES, SIDE, SIDE))


def noise() -> np.ndarray:
    """What the official masking sorts: f32[B, N]; the smallest values are visible."""
    rng = np.random.RandomState(2)
    order = np.stack([rng.permutation(SIDE**2) for _ in range(EXAMPLES)])
    return order.astype(np.float32) / SIDE**2


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an official name; target_encoder has others than encoder.

    What queries read is small, as are biases, so that predictions differ: where they are nearly
    equal the rounding of either code is large beside the gradients.
    """
    common = "_attn.proj" in name or name.endswith("bias")
    return large(name, shape, spread=0.1 if common else 0.4)


def layout() -> Sequence[Entry]:
    """Official names and ours."""
    return [*encoder(), *_decoder()]


def encoder(name: str = "encoder") -> Sequence[Entry]:
    """Entries of the encoder and its projector; name: encoder or target_encoder."""
    blocks = BlockNames("norm1", ("attn.qkv",), "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    layers = range(PROJECTOR[0])
    return [
        tensor(f"{name}.cls_token", "encoder/class_token"),
        *linear(f"{name}.embed.proj", "encoder/embed"),
        *stack_entries(blocks, f"{name}.blocks", "encoder/stack/blocks", ENCODER[0]),
        *norm(f"{name}.norm", "encoder/norm"),
        *(kernel(f"{name}.head.linear{n}.weight", f"projector/dense_{n}/kernel") for n in layers),
        *(vector(f"{name}.head.norm{n}.weight", f"projector/norm_{n}/scale") for n in layers),
        *(vector(f"{name}.head.norm{n}.bias", f"projector/norm_{n}/bias") for n in layers),
    ]


def _decoder() -> Iterator[Entry]:
    norms = {"norm1": "norm1", "norm2q": "norm2", "norm2kv": "norm_seen", "norm3": "norm3"}
    maps = {
        "self_attn.qkv": ("self_attention/qkv", 1),
        "self_attn.proj": ("self_attention/out", 2),
        "cross_attn.q_proj": ("cross_attention/query", 1),
        "cross_attn.kv_proj": ("cross_attention/kv", 1),
        "cross_attn.proj": ("cross_attention/out", 2),
        "mlp.fc1": ("mlp/up", 1),
        "mlp.fc2": ("mlp/down", 1),
    }
    yield tensor("decoder.cls_token", "decoder/class_token")
    yield tensor("decoder.mask_token", "decoder/mask_token")
    yield from linear("decoder.embed", "decoder/embed")
    for layer in range(DECODER[0]):
        name, here = f"decoder.blocks.{layer}", "decoder/blocks"
        for there, ours in norms.items():
            yield from norm(f"{name}.{there}", f"{here}/{ours}", (layer,))
        for there, (ours, inputs) in maps.items():
            yield from linear(f"{name}.{there}", f"{here}/{ours}", (layer,), inputs=inputs)
    yield from norm("decoder.norm", "decoder/norm")
    yield from linear("decoder.head", "decoder/head_features")
