"""Tiny AV-MAEs with given weights, inputs and masks, for scenic's modules and for ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maskmim.types import Spec
from tests.golden.official_weights import drawn

GOLDEN = Path(__file__).with_name("values.npz")
EXAMPLES, CLIP, SOUND = 2, (4, 8, 8), (12, 8)
PATCHES = {"video": (2, 4, 4), "audio": (4, 4)}
LENGTHS = {"video": 8, "audio": 6}
RATIOS = {"video": 0.75, "audio": 0.5}
SCALES = {"video": 0.5, "audio": 0.5}
DEPTH, WIDTH, HEADS, HIDDEN = 3, 8, 2, 16
DECODER_DEPTH = 1  # of the same sizes
# Names of the streams in the official code, in its order, and ours.
STREAMS = {"RGB": "video", "spectrogram": "audio"}


class Variant(NamedTuple):
    """One of the fusions: official names of encoder and decoder, and our keywords."""

    encoder: str
    decoder: str
    joint: int
    shared: bool
    decoder_blocks: str


VARIANTS = {
    "early": Variant("concat_and_encode", "concat_and_decode", DEPTH, False, "joint"),
    "mid": Variant("separate_encoders_and_concat", "same_decoder", 1, False, "shared"),
    "shared": Variant("same_encoder", "separate_decoders", 0, True, "separate"),
    "separate": Variant("separate_encoders", "same_decoder", 0, False, "shared"),
}


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the weights of an official name; scales of norms lie around 1."""
    numbers = drawn(name, shape)
    return (1 + 0.2 * numbers if name.endswith("scale") else 0.4 * numbers).astype(np.float32)


def spec() -> Spec:
    """Return two streams whose inputs are normalised already."""
    sound = Spec(SOUND, 1, (0.0,), (1.0,), "audio", "float32")
    plain = (0.0,) * 3, (1.0,) * 3
    return Spec(CLIP, 3, *plain, "video", "float32", streams={"audio": sound})


def inputs() -> dict[str, np.ndarray]:
    """Return a batch by our names."""
    rng = np.random.RandomState(0)
    shapes = {"video": (*CLIP, 3), "audio": (*SOUND, 1)}
    return {
        name: rng.standard_normal((EXAMPLES, *shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def orders() -> dict[str, np.ndarray]:
    """Return a permutation of each example's tokens, i32[B, N_s]; the first ones are hidden."""
    rng = np.random.RandomState(1)
    return {
        name: np.stack([rng.permutation(length) for _ in range(EXAMPLES)]).astype(np.int32)
        for name, length in LENGTHS.items()
    }


def hidden() -> np.ndarray:
    """Return which tokens are hidden, bool[B, N], by our order of streams."""
    parts = []
    for name, order in orders().items():
        part = np.zeros(order.shape, bool)
        np.put_along_axis(part, order[:, : int(RATIOS[name] * LENGTHS[name])], True, axis=1)
        parts.append(part)
    return np.concatenate(parts, axis=1)


def ours(theirs: Mapping[str, np.ndarray], variant: str) -> dict[str, np.ndarray]:
    """Return arrays of official names, weights or gradients, by the paths of our parameters."""
    chosen, found = VARIANTS[variant], {}
    for official, name in STREAMS.items():
        for kind in ("kernel", "bias"):
            embedding = theirs[f"embedding_{official}/{kind}"]
            columns = embedding.reshape(-1, WIDTH) if kind == "kernel" else embedding
            found[f"encoder/embed_{name}/patches/{kind}"] = columns
            found[f"decoder/embed_{name}/{kind}"] = theirs[f"decoder_projection_{official}/{kind}"]
            found[f"decoder/head_{name}/{kind}"] = theirs[f"output_projection_{official}/{kind}"]
        found[f"decoder/{name}_mask_token"] = theirs[f"mask_token_{official}"]
        own = "own" if chosen.shared else f"own_{name}"
        suffix = "" if chosen.shared else f"_{official}"
        if depth := DEPTH - chosen.joint:
            found |= _stack(theirs, f"Transformer{suffix}", f"encoder/{own}", depth)
        if chosen.decoder_blocks == "separate":
            path = f"decoder/own_{name}"
            found |= _stack(theirs, f"Decoder_{official}", path, DECODER_DEPTH)
    if chosen.joint:
        joint = "Transformer" if chosen.joint == DEPTH else "Transformer_concat"
        found |= _stack(theirs, joint, "encoder/joint", chosen.joint)
    if chosen.decoder_blocks != "separate":
        whose = {"shared": "own", "joint": "joint"}[chosen.decoder_blocks]
        found |= _stack(theirs, "Decoder", f"decoder/{whose}", DECODER_DEPTH)
    return found


def _stack(
    theirs: Mapping[str, np.ndarray], official: str, path: str, depth: int
) -> dict[str, np.ndarray]:
    """Return some blocks and the norm behind them; ours are stacked along a first axis."""
    blocks = [_block(theirs, f"{official}/encoderblock_{number}") for number in range(depth)]
    found = {
        f"{path}/stack/blocks/{name}": np.stack([block[name] for block in blocks])
        for name in blocks[0]
    }
    norm = {kind: theirs[f"{official}/encoder_norm/{kind}"] for kind in ("scale", "bias")}
    return found | {f"{path}/norm/norm/{kind}": array for kind, array in norm.items()}


def _block(theirs: Mapping[str, np.ndarray], official: str) -> dict[str, np.ndarray]:
    attention, mlp = f"{official}/MultiHeadDotProductAttention_0", f"{official}/MlpBlock_0"
    found = {}
    for kind in ("kernel", "bias"):
        three = [theirs[f"{attention}/{name}/{kind}"] for name in ("query", "key", "value")]
        found[f"attention/qkv/{kind}"] = np.stack(three, axis=-3)
        found[f"attention/out/{kind}"] = theirs[f"{attention}/out/{kind}"]
        found[f"mlp/up/{kind}"] = theirs[f"{mlp}/Dense_0/{kind}"]
        found[f"mlp/down/{kind}"] = theirs[f"{mlp}/Dense_1/{kind}"]
    for kind in ("scale", "bias"):
        found[f"norm1/norm/{kind}"] = theirs[f"{official}/LayerNorm_0/{kind}"]
        found[f"norm2/norm/{kind}"] = theirs[f"{official}/LayerNorm_1/{kind}"]
    return found


def theirs_of(shapes: Mapping[str, tuple[int, ...]], flat: np.ndarray) -> dict[str, np.ndarray]:
    """Return arrays by official names, out of all their values in the order of the names."""
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes.values()])
    parts = np.split(flat, ends[:-1])
    return {name: part.reshape(shapes[name]) for name, part in zip(shapes, parts, strict=True)}
