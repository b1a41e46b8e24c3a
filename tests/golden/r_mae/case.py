"""A tiny R-MAE with given weights, pictures, regions and noise, for the official model and ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmim.interop.blocks import stack_entries
from maskmim.interop.layout import Entry, convolution, kernel, linear, norm, tensor, vector
from maskmim.interop.mae_official import BLOCK, LAYOUT
from tests.golden.official_weights import large

weight = large
GOLDEN = Path(__file__).with_name("values.npz")
IMAGE, PATCH, EXAMPLES, REGIONS = 16, 4, 2, 3
ENCODER = (2, 8, 2)  # depth, width, heads
DECODER = (1, 8, 2)
MEMORY = (2, 8, 2)
RATIO = 0.75


def pictures() -> np.ndarray:
    """Normalised inputs f32[B, 3, H, W]."""
    rng = np.random.RandomState(0)
    return rng.standard_normal((EXAMPLES, 3, IMAGE, IMAGE)).astype(np.float32)


def regions() -> np.ndarray:
    """Maps bool[B, R, H, W]: inside and outside circles."""
    rng = np.random.RandomState(2)
    rows, columns = np.mgrid[:IMAGE, :IMAGE]
    middle = rng.uniform(2, IMAGE - 2, (2, EXAMPLES, REGIONS, 1, 1))
    distance = np.hypot(rows - middle[0], columns - middle[1])
    return distance < rng.uniform(4, 12, (EXAMPLES, REGIONS, 1, 1))


def noise() -> np.ndarray:
    """What the official masking sorts: f32[B, N]; the smallest values are visible."""
    length = (IMAGE // PATCH) ** 2
    rng = np.random.RandomState(1)
    return np.stack([rng.permutation(length) for _ in range(EXAMPLES)]).astype(np.float32) / length


def layout() -> Sequence[Entry]:
    """Official names and ours."""
    block, out = "region_dec_blocks.0", "regions/attention/out"
    return [
        *LAYOUT.encoder((PATCH, PATCH, 3), ENCODER[0]),
        *LAYOUT.decoder(DECODER[0]),
        tensor("region_cross_mask_token", "regions/mask_token"),
        *linear("region_cross_embed", "regions/embed"),
        *stack_entries(BLOCK, "region_cross_blocks", "regions/stack/blocks", MEMORY[0]),
        *norm("region_dec_norm", "regions/norm"),
        convolution(
            "region_patch_embed.proj.weight", "regions/region_embed/kernel", (PATCH, PATCH, 1)
        ),
        vector("region_patch_embed.proj.bias", "regions/region_embed/bias"),
        *stack_entries(BLOCK, "region_enc_blocks", "regions/region_stack/blocks", 1),
        *norm("region_proj.0", "regions/norm_project"),
        *linear("region_proj.1", "regions/project"),
        *norm(f"{block}.norm1", "regions/norm_queries"),
        *linear(f"{block}.attn.qkv", "regions/attention/qkv"),
        kernel(f"{block}.attn.proj.weight", f"{out}/kernel", inputs=2),
        vector(f"{block}.attn.proj.bias", f"{out}/bias"),
        *linear(f"{block}.proj", "regions/memory"),
        *norm(f"{block}.norm3", "regions/norm_expanded"),
        *linear(f"{block}.mlp.fc1", "regions/mlp/up"),
        *linear(f"{block}.mlp.fc2", "regions/mlp/down"),
        *linear("region_pred.1", "regions/head_regions"),
    ]
