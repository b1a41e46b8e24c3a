"""A tiny SatMAE with given weights, pictures and masks, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.blocks import BlockNames, stack_entries
from maskmim.interop.layout import Entry, convolution, linear, norm, tensor, vector
from maskmim.types import Spec
from tests.golden.multimae.case import values
from tests.golden.official_weights import large

GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES = 12, 4, 3
# Not in the order of the file, and of different lengths, as the published ones.
GROUPS = {"image": (0, 1, 4), "second": (2, 3, 5), "third": (6,)}
BANDS = 7
ENCODER, CODE = (2, 24, 2), 8  # depth, width, heads; width of the group's code
DECODER, DECODER_CODE = (1, 16, 2), 8
RATIO = 0.7  # of 27 tokens 8 stay visible
BLOCK = BlockNames("norm1", ("attn.qkv",), "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the weights of an official name."""
    return large(name, shape, spread=0.3)


def spec() -> Spec:
    """Return the groups as streams whose inputs are normalised already."""

    def one(name: str) -> Spec:
        count = len(GROUPS[name])
        plain = (0.0,) * count, (1.0,) * count
        return Spec((IMAGE, IMAGE), count, *plain, name, "float32")

    return one("image")._replace(streams={name: one(name) for name in list(GROUPS)[1:]})


def picture() -> np.ndarray:
    """Return pictures f32[B, H, W, bands]."""
    rng = np.random.RandomState(0)
    return rng.standard_normal((EXAMPLES, IMAGE, IMAGE, BANDS)).astype(np.float32)


def noise() -> np.ndarray:
    """Return the numbers by which the official model orders tokens: the least stay visible."""
    return np.random.RandomState(1).rand(EXAMPLES, 27).astype(np.float32)


def layout() -> Sequence[Entry]:
    """Return official names and ours."""
    return [
        *(entry for number, name in enumerate(GROUPS) for entry in _of_group(number, name)),
        tensor("cls_token", "encoder/global_token"),
        *stack_entries(BLOCK, "blocks", "encoder/stack/blocks", ENCODER[0]),
        *norm("norm", "encoder/norm"),
        *linear("decoder_embed", "decoder/embed"),
        tensor("mask_token", "decoder/mask_token"),
        *stack_entries(BLOCK, "decoder_blocks", "decoder/stack/blocks", DECODER[0]),
        *norm("decoder_norm", "decoder/norm"),
    ]


def _of_group(number: int, name: str) -> Sequence[Entry]:
    channels, path = len(GROUPS[name]), f"encoder/embed_{name}/patches"
    embed, head = f"patch_embed.{number}.proj", f"decoder_pred.{number}"
    return [
        convolution(f"{embed}.weight", f"{path}/kernel", (PATCH, PATCH, channels)),
        vector(f"{embed}.bias", f"{path}/bias"),
        *(
            values(f"{head}.{kind}", f"decoder/head_{name}/{ours}", channels, PATCH)
            for kind, ours in (("weight", "kernel"), ("bias", "bias"))
        ),
    ]
