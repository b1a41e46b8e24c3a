"""A tiny MW-MAE with given weights, spectrograms and noise, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry
from maskmim.models.layers.head_windows import bias_counts
from tests.golden.official_weights import drawn

GOLDEN = Path(__file__).with_name("values.npz")
SIZE, PATCH, EXAMPLES = (24, 4), (2, 2), 2
GRID = (SIZE[0] // PATCH[0], SIZE[1] // PATCH[1])
ENCODER, DECODER = (2, 16, 2), (2, 16)  # depth, width, heads
WINDOWS = (2, 6, 12, 0)
RATIO = 0.75
# Of a block: official modules and ours, and how many dimensions of ours enter.
MAPS = {
    "encoder": {"Attention_0/Dense_0": ("qkv", 1), "Attention_0/Dense_1": ("out", 2)},
    "decoder": {"wmha_block/qkv": ("qkv", 1), "wmha_block/proj": ("out", 2)},
}


def spectrograms() -> np.ndarray:
    """Standardised inputs f32[B, time, mel, 1]."""
    return np.random.RandomState(0).standard_normal((EXAMPLES, *SIZE, 1)).astype(np.float32)


def noise() -> np.ndarray:
    """What the official masking sorts: f32[B, N]; the smallest values are visible."""
    length = GRID[0] * GRID[1]
    rng = np.random.RandomState(1)
    return np.stack([rng.permutation(length) for _ in range(EXAMPLES)]).astype(np.float32) / length


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an official path: large random numbers, scales around 1."""
    numbers = drawn(name, shape)
    return (1 + 0.2 * numbers if name.endswith("scale") else 0.4 * numbers).astype(np.float32)


def layout() -> Sequence[Entry]:
    """Official paths and ours."""
    found = [
        _flat("mask_token", "decoder/mask_token", inputs=2, lead=(1,)),
        _flat("pos_embed", "encoder/positions", lead=(1,)),
        _flat("decoder_pos_embed", "decoder/positions", lead=(1,)),
        Entry(
            "patch_embed/proj/kernel",
            "encoder/embed/kernel",
            (),
            lambda a: a.reshape(*PATCH, 1, -1),
            lambda a, shape: a.reshape(shape),
        ),
        _flat("patch_embed/proj/bias", "encoder/embed/bias", inputs=0),
        *_norm("encoder_norm", "encoder/norm"),
        *_norm("decoder_norm", "decoder/norm"),
        *_dense("decoder_embed", "decoder/embed"),
        *_dense("decoder_pred", "decoder/head_pixels"),
    ]
    for layer in range(ENCODER[0]):
        found += _block("encoder", "encoder/stack/blocks", layer)
    for layer in range(DECODER[0]):
        found += _block("decoder", "decoder/blocks", layer)
        found += _biases(layer)
    return found


def _block(part: str, path: str, layer: int) -> Iterator[Entry]:
    theirs, at = f"{part}_block_{layer:02d}", (layer,)
    for number in (0, 1):
        yield from _norm(f"{theirs}/LayerNorm_{number}", f"{path}/norm{number + 1}", at)
    for name, (ours, inputs) in MAPS[part].items():
        yield from _dense(f"{theirs}/{name}", f"{path}/attention/{ours}", at, inputs)
    yield from _dense(f"{theirs}/Mlp_0/Dense_0", f"{path}/mlp/up", at)
    yield from _dense(f"{theirs}/Mlp_0/Dense_1", f"{path}/mlp/down", at)


def _biases(layer: int) -> Iterator[Entry]:
    start = 0
    for head, count in enumerate(bias_counts(WINDOWS)):
        if count:
            name = f"decoder_block_{layer:02d}/wmha_block/attn_heads_{head}"
            at = (layer, slice(start, start + count))
            yield _flat(
                f"{name}/relative_position_bias_table", "decoder/blocks/window_bias", at, tail=(1,)
            )
            start += count


def _norm(name: str, path: str, index: tuple = ()) -> Iterator[Entry]:
    for each in ("scale", "bias"):
        yield _flat(f"{name}/{each}", f"{path}/norm/{each}", index, inputs=0)


def _dense(name: str, path: str, index: tuple = (), inputs: int = 1) -> Iterator[Entry]:
    yield _flat(f"{name}/kernel", f"{path}/kernel", index, inputs=inputs)
    yield _flat(f"{name}/bias", f"{path}/bias", index, inputs=0)


def _flat(
    name: str,
    path: str,
    index: tuple = (),
    *,
    inputs: int = 1,
    lead: tuple[int, ...] = (),
    tail: tuple[int, ...] = (),
) -> Entry:
    """Theirs has our first `inputs` dimensions as one, and all others as one."""

    def theirs(a: np.ndarray) -> np.ndarray:
        if tail or not inputs:
            return a.reshape(-1, *tail)
        return a.reshape(*lead, int(np.prod(a.shape[:inputs])), -1)

    return Entry(name, path, index, theirs, lambda a, shape: a.reshape(shape))
