"""A tiny SMA with given weights, inputs and queries, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, kernel, linear, norm, tensor
from tests.golden.official_weights import large

GOLDEN = Path(__file__).with_name("values.npz")
KINDS = ("amounts", "indices")
EXAMPLES, LENGTH, CHANNELS, VOCABULARY = 3, 12, 2, 7
LATENTS, WIDTH, DEPTH, HEADS, READ_HEADS = 6, 8, 2, 2, 2
EMBEDDING, DECODER_HEADS = 4, 2
RATIO, PER_QUERY = 0.5, 3.0


def inputs(kind: str) -> np.ndarray:
    """Amounts f32[B, N, C], or indices i32[B, N, 1]."""
    rng = np.random.RandomState(0)
    if kind == "amounts":
        return rng.standard_normal((EXAMPLES, LENGTH, CHANNELS)).astype(np.float32)
    return rng.randint(0, VOCABULARY, (EXAMPLES, LENGTH, 1)).astype(np.int32)


def queries() -> np.ndarray:
    """Each example's permutation of the latents, of which the official code takes the first."""
    rng = np.random.RandomState(1)
    return np.stack([rng.permutation(LATENTS) for _ in range(EXAMPLES)])


def chosen() -> np.ndarray:
    """Which latents these are, bool[B, latents]."""
    count = round(LENGTH * RATIO / PER_QUERY)
    places = np.zeros((EXAMPLES, LATENTS), bool)
    np.put_along_axis(places, queries()[:, :count], True, axis=1)
    return places


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an official name."""
    return large(name, shape)


def layout(kind: str) -> list[Entry]:
    """Official names and ours."""
    tokens, decoder = "perceiver.input_preprocessor", "teacher.reconstruction_decoder"
    embed = (
        linear(f"{tokens}.input_projection", "encoder/tokens/embed")
        if kind == "amounts"
        else [tensor(f"{tokens}.embeddings.weight", "encoder/tokens/embed/embedding")]
    )
    head = {"amounts": "values", "indices": "tokens"}[kind]
    return [
        *embed,
        tensor(f"{tokens}.position_embeddings.weight", "encoder/tokens/positions"),
        *norm(f"{tokens}.layernorm", "encoder/tokens/norm"),
        tensor("perceiver.encoding_latents.latents", "encoder/latents"),
        *_block("perceiver.encoder.cross_attention", "encoder/read"),
        *(
            entry
            for number in range(DEPTH)
            for entry in _block(
                f"perceiver.encoder.self_attends.{number}", "encoder/blocks", (number,)
            )
        ),
        *_block(f"{decoder}.decoding_cross_attention", "decoder/read"),
        tensor(f"{decoder}.decoder_latents.latents", "decoder/positions"),
        *norm(f"{decoder}.pre_layernorm", "decoder/norm_seen"),
        *norm(f"{decoder}.final_layernorm", "decoder/norm"),
        *linear(f"{decoder}.final_project", f"decoder/head_{head}"),
    ]


def _block(theirs: str, ours: str, index: tuple = ()) -> Iterator[Entry]:
    """The entries of a layer, whose dense layers have no biases."""
    attention = f"{theirs}.attention.attention"
    yield from norm(f"{attention}.layernorm1", f"{ours}/norm1", index)
    for name in ("query", "key", "value"):
        yield kernel(f"{attention}.{name}.weight", f"{ours}/attention/{name}/kernel", index)
    out = f"{ours}/attention/out/kernel"
    yield kernel(f"{theirs}.attention.output.dense.weight", out, index, inputs=2)
    yield from norm(f"{theirs}.layernorm", f"{ours}/norm2", index)
    yield kernel(f"{theirs}.mlp.dense1.weight", f"{ours}/mlp/up/kernel", index)
    yield kernel(f"{theirs}.mlp.dense2.weight", f"{ours}/mlp/down/kernel", index)
