"""A tiny ConvMAE with given weights, pictures and noise, for the official model and for ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop import mae_official
from maskmim.interop.blocks import stack_entries
from maskmim.interop.layout import Entry, convolution, linear, norm, tensor, vector
from tests.golden.official_weights import large as weight

__all__ = ["weight"]

GOLDEN = Path(__file__).with_name("values.npz")
GRID = 14  # tokens along a side: the official masks are written for 14 x 14
PATCH, EXAMPLES = 1, 1
WIDTHS, DEPTHS, HEADS = (4, 6, 8), (2, 1, 2), 2
DECODER = (1, 8, 2)  # depth, width, heads
IMAGE = 4 * PATCH * GRID
VALUES = (4 * PATCH) ** 2 * 3
RATIO = 0.75


def pictures() -> np.ndarray:
    """Normalised inputs f32[B, 3, H, W]."""
    rng = np.random.RandomState(0)
    return rng.standard_normal((EXAMPLES, 3, IMAGE, IMAGE)).astype(np.float32)


def noise() -> np.ndarray:
    """What the official masking sorts: f32[B, N]; the smallest values are visible."""
    rng = np.random.RandomState(1)
    return np.stack([rng.permutation(GRID**2) for _ in range(EXAMPLES)]).astype(np.float32)


def layout() -> Sequence[Entry]:
    """Official names and ours."""
    return [
        *stage_entries(WIDTHS, DEPTHS, fusing="decoder"),
        tensor("mask_token", "decoder/mask_token"),
        *linear("decoder_embed", "decoder/embed"),
        *stack_entries(mae_official.BLOCK, "decoder_blocks", "decoder/stack/blocks", DECODER[0]),
        *norm("decoder_norm", "decoder/norm"),
        *linear("decoder_pred", "decoder/head_pixels"),
    ]


def stage_entries(
    widths: tuple[int, int, int], depths: tuple[int, int, int], *, fusing: str
) -> Sequence[Entry]:
    """Official names of the three stages and of what adds them up, a layer of our `fusing`."""
    first, second, _ = widths
    return [
        *_convolution("patch_embed1.proj", "encoder/stem"),
        *norm("patch_embed1.norm", "encoder/stem_norm"),
        *_convolution("patch_embed2.proj", "encoder/down1"),
        *norm("patch_embed2.norm", "encoder/down1_norm"),
        *_patches("patch_embed3.proj", "encoder/embed", (2, 2, second)),
        *norm("patch_embed3.norm", "encoder/embed_norm"),
        *linear("patch_embed4", "encoder/project"),
        *(entry for layer in range(depths[0]) for entry in _block("blocks1", 0, layer)),
        *(entry for layer in range(depths[1]) for entry in _block("blocks2", 1, layer)),
        *stack_entries(mae_official.BLOCK, "blocks3", "encoder/stack/blocks", depths[2]),
        *_patches("stage1_output_decode", f"{fusing}/fuse0", (4, 4, first)),
        *_patches("stage2_output_decode", f"{fusing}/fuse1", (2, 2, second)),
        *norm("norm", f"{fusing}/fused_norm"),
    ]


def _block(name: str, stage: int, layer: int) -> Sequence[Entry]:
    there, here, at = f"{name}.{layer}", f"encoder/stage{stage}_blocks", (layer,)
    layers = {"conv1": "enter", "attn": "depthwise", "conv2": "leave"}
    layers |= {"mlp.fc1": "up", "mlp.fc2": "down"}
    return [
        *norm(f"{there}.norm1", f"{here}/norm1", at),
        *norm(f"{there}.norm2", f"{here}/norm2", at),
        *(
            entry
            for theirs, ours in layers.items()
            for entry in _convolution(f"{there}.{theirs}", f"{here}/{ours}", at)
        ),
    ]


def _convolution(name: str, path: str, index: tuple = ()) -> Sequence[Entry]:
    """A convolution's kernel [rows, columns, in, out], or a dense layer's [in, out], and bias."""

    def theirs(a: np.ndarray) -> np.ndarray:
        return a.reshape((1, 1)[a.ndim - 2 :] + a.shape).transpose(3, 2, 0, 1)

    def ours(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return a.transpose(2, 3, 1, 0).reshape(shape)

    kernel = Entry(f"{name}.weight", f"{path}/kernel", index, theirs, ours)
    return [kernel, vector(f"{name}.bias", f"{path}/bias", index)]


def _patches(name: str, path: str, patch: tuple[int, int, int]) -> Sequence[Entry]:
    return [
        convolution(f"{name}.weight", f"{path}/kernel", patch),
        vector(f"{name}.bias", f"{path}/bias"),
    ]
