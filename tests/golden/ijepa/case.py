"""A tiny I-JEPA with given weights, pictures and masks, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.blocks import stack_entries
from maskmim.interop.layout import Entry, convolution, linear, norm, tensor, vector
from maskmim.interop.mae_official import BLOCK
from tests.golden.official_weights import large

GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES = 16, 4, 3
ENCODER = (2, 12, 2)  # depth, width, heads
PREDICTOR = (2, 8, 2)
CONTEXT, TARGET, TARGETS = 5, 3, 2


def weight(name: str, shape: tuple[int, ...], *, of: str = "student") -> np.ndarray:
    """The array of an official name, of the student or of its average."""
    return large(name if of == "student" else f"{of}.{name}", shape)


def pictures() -> np.ndarray:
    """Normalised inputs f32[B, 3, H, W]."""
    rng = np.random.RandomState(0)
    return rng.standard_normal((EXAMPLES, 3, IMAGE, IMAGE)).astype(np.float32)


def places() -> tuple[np.ndarray, np.ndarray]:
    """Tokens of the context i[B, K] and of each target i[targets, B, P]; targets overlap."""
    rng = np.random.RandomState(1)
    orders = np.stack([rng.permutation((IMAGE // PATCH) ** 2) for _ in range(EXAMPLES)])
    starts = range(CONTEXT, CONTEXT + TARGETS * (TARGET - 1), TARGET - 1)
    targets = np.stack([orders[:, start : start + TARGET] for start in starts])
    return np.sort(orders[:, :CONTEXT]), np.sort(targets)


def encoder() -> Sequence[Entry]:
    """Official names, behind 'encoder.', and ours."""
    return [
        convolution("encoder.patch_embed.proj.weight", "encoder/embed/kernel", (PATCH, PATCH, 3)),
        vector("encoder.patch_embed.proj.bias", "encoder/embed/bias"),
        *stack_entries(BLOCK, "encoder.blocks", "encoder/stack/blocks", ENCODER[0]),
        *norm("encoder.norm", "encoder/norm"),
    ]


def layout() -> Sequence[Entry]:
    """Official names, behind 'encoder.' and 'predictor.', and ours."""
    return [
        *encoder(),
        *linear("predictor.predictor_embed", "decoder/embed"),
        tensor("predictor.mask_token", "decoder/mask_token"),
        *stack_entries(BLOCK, "predictor.predictor_blocks", "decoder/stack/blocks", PREDICTOR[0]),
        *norm("predictor.predictor_norm", "decoder/norm"),
        *linear("predictor.predictor_proj", "decoder/head_features"),
    ]
