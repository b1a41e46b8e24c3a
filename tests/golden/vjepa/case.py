"""A tiny V-JEPA with given weights, clips and masks, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.blocks import stack_entries
from maskmim.interop.layout import Entry, convolution, linear, norm, vector
from maskmim.interop.mae_official import BLOCK
from tests.golden.official_weights import large

GOLDEN = Path(__file__).with_name("values.npz")
FRAMES, IMAGE, TUBELET, PATCH, EXAMPLES = 4, 12, 2, 4, 2
ENCODER = (2, 16, 2)  # depth, width, heads; six parts of the positions do not fill the width
PREDICTOR = (2, 8, 2)
SEEN, ASKED = (4, 2), (5, 7)  # places of both masks, of 9 at each of two times


def weight(name: str, shape: tuple[int, ...], *, of: str = "student") -> np.ndarray:
    """The array of an official name, of the student or of its average."""
    return large(name if of == "student" else f"{of}.{name}", shape)


def clips() -> np.ndarray:
    """Normalised inputs f32[B, 3, T, H, W]."""
    rng = np.random.RandomState(0)
    return rng.standard_normal((EXAMPLES, 3, FRAMES, IMAGE, IMAGE)).astype(np.float32)


def places() -> list[tuple[np.ndarray, np.ndarray]]:
    """Tokens that are seen and asked by each mask, i[B, ...]."""
    rng, side, found = np.random.RandomState(1), IMAGE // PATCH, []
    for seen, asked in zip(SEEN, ASKED, strict=True):
        orders = np.stack([rng.permutation(side**2) for _ in range(EXAMPLES)])
        parts = orders[:, :seen], orders[:, seen : seen + asked]
        times = [np.sort(np.concatenate([part, part + side**2], axis=1)) for part in parts]
        found.append((times[0], times[1]))
    return found


def joined(name: str, array: np.ndarray) -> np.ndarray:
    """Official arrays as `layout` names them: frames and rows of the convolution are joined."""
    return (
        array.reshape(*array.shape[:2], -1, PATCH)
        if name.endswith("proj.weight") and (array.ndim == 5)
        else array
    )


def layout() -> Sequence[Entry]:
    """Official names, behind 'encoder.' and 'predictor.', and ours."""
    embed, rows = "encoder.patch_embed.proj", (TUBELET * PATCH, PATCH, 3)
    tokens = [
        Entry(
            f"predictor.mask_tokens.{number}",
            "decoder/mask_token",
            (number,),
            lambda a: a[None],
            lambda a, shape: a.reshape(shape),
        )
        for number in range(len(SEEN))
    ]
    return [
        convolution(f"{embed}.weight", "encoder/embed/kernel", rows),
        vector(f"{embed}.bias", "encoder/embed/bias"),
        *stack_entries(BLOCK, "encoder.blocks", "encoder/stack/blocks", ENCODER[0]),
        *norm("encoder.norm", "encoder/norm"),
        *linear("predictor.predictor_embed", "decoder/embed"),
        *tokens,
        *stack_entries(BLOCK, "predictor.predictor_blocks", "decoder/stack/blocks", PREDICTOR[0]),
        *norm("predictor.predictor_norm", "decoder/norm"),
        *linear("predictor.predictor_proj", "decoder/head_features"),
    ]
