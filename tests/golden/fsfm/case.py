"""A tiny FSFM with given weights, pictures and masks, for the official training step and ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.blocks import stack_entries
from maskmim.interop.layout import Entry, linear, norm, tensor, vector
from maskmim.interop.mae_official import BLOCK, LAYOUT
from tests.golden.official_weights import drawn

GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES = 16, 4, 4
TOKENS, HIDDEN_TOKENS = 16, 12
ENCODER = (2, 16, 4)  # depth, width, heads
DECODER = (1, 8, 2)
REPRESENTER = (2, 4)  # depth, heads
HIDDEN, VALUES = 12, 6  # of projector and predictor
COVERED_SCALE, IDENTITY_SCALE, MOMENTUM = 0.007, 0.1, 0.9
EVERY = 3  # Of the gradients and of the average every third number is stored.
COVERED = (5, 1, 0, 12)  # Hidden tokens of the covered region, of each example.


def pictures() -> np.ndarray:
    """Normalised pictures, f32[B, 3, H, W]."""
    rng = np.random.RandomState(0)
    return rng.standard_normal((EXAMPLES, 3, IMAGE, IMAGE)).astype(np.float32)


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Hidden tokens and those of the covered region, bool[B, N] each."""
    rng = np.random.RandomState(1)
    hidden, covered = (np.zeros((EXAMPLES, TOKENS), bool) for _ in range(2))
    for row, count in enumerate(COVERED):
        order = rng.permutation(TOKENS)
        hidden[row, order[:HIDDEN_TOKENS]] = True
        covered[row, order[:count]] = True
    return hidden, covered


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an official name: large random numbers, norms' around 1."""
    numbers = drawn(name, shape)
    scale = name.endswith("weight") and len(shape) == 1
    return (1 + 0.2 * numbers if scale else 0.3 * numbers).astype(np.float32)


def target_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an official name in the target network, which is not the online one's."""
    return weight(f"target {name}", shape)


def _mlp(name: str) -> list[Entry]:
    """Linear, layer norm, ReLU, linear."""
    theirs = f"{name}.projection_head"
    return [
        *linear(f"{theirs}.0", f"{name}/dense_0"),
        vector(f"{theirs}.1.weight", f"{name}/norm_0/scale"),
        vector(f"{theirs}.1.bias", f"{name}/norm_0/bias"),
        *linear(f"{theirs}.3", f"{name}/dense_1"),
    ]


def target_layout() -> Sequence[Entry]:
    """Official names and ours of what the target network has."""
    return [
        *LAYOUT.encoder((PATCH, PATCH, 3), ENCODER[0]),
        tensor("mask_token", "representer/mask_token"),
        *linear("rep_decoder_embed", "representer/embed"),
        *stack_entries(BLOCK, "rep_decoder_blocks", "representer/stack/blocks", REPRESENTER[0]),
        *norm("rep_decoder_norm", "representer/norm"),
        *linear("rep_decoder_pred", "representer/output"),
        *_mlp("projector"),
    ]


def layout() -> Sequence[Entry]:
    """Official names and ours of the online network."""
    decoder = [entry for entry in LAYOUT.decoder(DECODER[0]) if entry.name != "mask_token"]
    return [*target_layout(), *decoder, *_mlp("predictor")]
