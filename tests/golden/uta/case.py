"""A tiny UTA student with given weights, pictures, noise and features of a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, convolution, kernel, linear, norm, tensor, vector
from tests.golden.official_weights import drawn
from tests.golden.official_weights import large as weight

__all__ = ["weight"]

GOLDEN = Path(__file__).with_name("values.npz")
GRID, PATCH, EXAMPLES = 4, 4, 3
IMAGE = GRID * PATCH
STUDENT = (2, 16, 2)  # depth, width, heads
VALUES = 8  # of the teacher
RATIO = 0.5


def pictures() -> np.ndarray:
    """Normalised inputs f32[B, 3, H, W]."""
    return drawn("pictures", (EXAMPLES, 3, IMAGE, IMAGE)).astype(np.float32)


def noise() -> np.ndarray:
    """What the official masking sorts: f32[B, N]; the largest values are visible."""
    rng = np.random.RandomState(1)
    return np.stack([rng.permutation(GRID**2) for _ in range(EXAMPLES)]).astype(np.float32)


def features() -> np.ndarray:
    """The teacher's features of the class token and of all tokens f32[B, 1 + N, VALUES]."""
    return drawn("features", (EXAMPLES, 1 + GRID**2, VALUES)).astype(np.float32)


def layout() -> Sequence[Entry]:
    """Official names and ours; the position of the class token, 0 in the case, is left out."""

    def positions(a: np.ndarray) -> np.ndarray:
        return np.concatenate([np.zeros_like(a[:1]), a])[None]

    return [
        tensor("cls_token", "encoder/class_token"),
        Entry("pos_embed", "encoder/positions", (), positions, lambda a, _: a[0, 1:]),
        convolution("patch_embed.proj.weight", "encoder/embed/kernel", (PATCH, PATCH, 3)),
        vector("patch_embed.proj.bias", "encoder/embed/bias"),
        *(entry for layer in range(STUDENT[0]) for entry in _block(layer)),
        *norm("norm", "encoder/norm"),
        *linear("head", "align/dense_0"),
    ]


def _block(layer: int) -> Sequence[Entry]:
    theirs, ours, at = f"blocks.{layer}", "encoder/blocks", (layer,)
    attention, mlp = f"{ours}/attention", f"{ours}/mlp"
    names = {"q_proj": "query", "k_proj": "key", "v_proj": "value"}
    biases = {"q_bias": "query", "v_bias": "value"}
    return [
        *norm(f"{theirs}.norm1", f"{ours}/norm1", at),
        *norm(f"{theirs}.norm2", f"{ours}/norm2", at),
        *(
            kernel(f"{theirs}.attn.{name}.weight", f"{attention}/{own}/kernel", at)
            for name, own in names.items()
        ),
        *(
            vector(f"{theirs}.attn.{name}", f"{attention}/{own}/bias", at)
            for name, own in biases.items()
        ),
        *linear(f"{theirs}.attn.proj", f"{attention}/out", at, inputs=2),
        *linear(f"{theirs}.mlp.w1", f"{mlp}/gate", at),
        *linear(f"{theirs}.mlp.w2", f"{mlp}/up", at),
        *norm(f"{theirs}.mlp.ffn_ln", f"{mlp}/inner_norm", at),
        *linear(f"{theirs}.mlp.w3", f"{mlp}/down", at),
    ]
