"""MaskFeat on a tiny MViTv2 with given weights, clips and masks, for the official model and us."""

from __future__ import annotations

import itertools
import zlib
from pathlib import Path

import numpy as np

from maskmim.interop.layout import Entry, kernel, linear, norm, tensor, vector
from maskmim.models.mvit import VARIANTS, block_shapes
from tests.golden.official_weights import large

GOLDEN = Path(__file__).with_name("values.npz")
VARIANT = "nano"
SIZE = VARIANTS[VARIANT]
FRAMES, SIDE, EXAMPLES = 6, 64, 2
STEM = (3, 16, 16)
WINDOW = (3, 4, 4)  # The grid of cubes that are hidden, each 2 x 2 tokens of the output.
HIDDEN = 8
VALUES = 27  # 3 channels, 9 bins, one cell of 8 pixels.


def clips() -> np.ndarray:
    """Normalised inputs f32[B, 3, T, H, W]."""
    rng = np.random.RandomState(0)
    return rng.standard_normal((EXAMPLES, 3, FRAMES, SIDE, SIDE)).astype(np.float32)


def masks() -> np.ndarray:
    """Hidden units bool[B, *WINDOW], equally many in both clips."""
    rng = np.random.RandomState(1)
    units = np.prod(WINDOW)
    drawn = np.stack([rng.permutation(units) < HIDDEN for _ in range(EXAMPLES)])
    return drawn.reshape(EXAMPLES, *WINDOW)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an official name."""
    return large(name, shape, spread=0.2)


def sketch(name: str, gradient: np.ndarray) -> np.ndarray:
    """A gradient as its length and three random projections, which differ where it differs."""
    size = gradient.size
    rng = np.random.RandomState(zlib.crc32(f"sketch {name}".encode()))
    directions = rng.standard_normal((3, size)) / np.sqrt(size)
    flattened = gradient.reshape(-1).astype(np.float64)
    return np.array([np.sqrt(np.sum(flattened**2)), *directions @ flattened], np.float32)


def layout() -> list[Entry]:
    """Official names and ours."""
    return [
        tensor("cls_token", "encoder/class_token"),
        tensor("mask_token", "encoder/mask_token"),
        _convolution("patch_embed.proj.weight", "encoder/stem/kernel"),
        vector("patch_embed.proj.bias", "encoder/stem/bias"),
        *_blocks(),
        vector("pred_head.transforms.0.0.weight", "encoder/norm/norm/scale"),
        vector("pred_head.transforms.0.0.bias", "encoder/norm/norm/bias"),
        kernel("pred_head.projections.0.weight", "decoder/head_hog/kernel"),
        vector("pred_head.projections.0.bias", "decoder/head_hog/bias"),
    ]


def _blocks() -> list[Entry]:
    found, first = [], 0
    for shape, alike in itertools.groupby(block_shapes(SIZE, STEM)):
        count = len(list(alike))
        for place in range(count):
            name = f"blocks.{first + place}"
            here, at = f"encoder/from{first}_blocks", (place,)
            if count == 1:
                here, at = f"encoder/block{first}", ()
            found += _block(name, here, at)
            if shape.width != shape.after:
                found += linear(f"{name}.proj", f"{here}/skip", at)
        first += count
    return found


def _block(name: str, here: str, at: tuple) -> list[Entry]:
    found = [
        *norm(f"{name}.norm1", f"{here}/norm1", at),
        *norm(f"{name}.norm2", f"{here}/norm2", at),
    ]
    for there, ours in (
        ("attn.qkv", "attention/qkv"),
        ("mlp.fc1", "mlp/up"),
        ("mlp.fc2", "mlp/down"),
    ):
        found += linear(f"{name}.{there}", f"{here}/{ours}", at)
    found += linear(f"{name}.attn.proj", f"{here}/attention/out", at, inputs=2)
    for short, role in (("q", "query"), ("k", "key"), ("v", "value")):
        pool = f"{here}/attention/pool_{role}"
        found.append(_convolution(f"{name}.attn.pool_{short}.weight", f"{pool}/conv/kernel", at))
        found += norm(f"{name}.attn.norm_{short}", f"{pool}/norm", at)
    for short, axis in (("t", "time"), ("h", "row"), ("w", "column")):
        path = f"{here}/attention/relative/{axis}_positions"
        found.append(
            Entry(f"{name}.attn.rel_pos_{short}", path, at, lambda a: a, lambda a, shape: a)
        )
    return found


def _convolution(name: str, path: str, at: tuple = ()) -> Entry:
    """[out, in, t, y, x] there, [t, y, x, in, out] here."""

    def theirs(a: np.ndarray) -> np.ndarray:
        return a.transpose(4, 3, 0, 1, 2)

    return Entry(name, path, at, theirs, lambda a, shape: a.transpose(2, 3, 4, 1, 0))
