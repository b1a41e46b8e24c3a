"""Frozen networks, as functions of pictures of any size."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Deviations, DtypeName, Means, PositiveInt, Seed, Size2D
from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD
from maskmim.models import vit
from maskmim.models.captured_blocks import block_output
from maskmim.models.layers.compute import compute
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.patches import patchify
from maskmim.models.layers.posembed import resize_positions
from maskmim.models.vit import Size
from maskmim.types import Array, Encoded, Mask, Tree, random_key

# (table [N, D], its grid, new grid) -> table for the new grid
Resize = Callable[[Array, tuple[int, int], tuple[int, int]], Array]


class Frozen(NamedTuple):
    """A network that is not trained; bricks without positional arguments build it.

    patch:     (height, width) pixels of a token.
    mean, std: its own normalisation, per channel, of pixels in [0, 1].
    load:      () -> params; reads or draws them, called outside jit.
    encode:    (params, normalised pictures f32[B, H, W, C], mask=None, capture=()) -> Encoded of
               the mask's visible tokens, with mask None of every token; mask and capture are those
               of `Net.encode`, and what is captured ends with the block whose output this is.
    """

    patch: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    load: Callable[[], Tree]
    encode: Callable[..., Encoded]


def random_vit(
    *,
    variant: str = "B",
    patch: Size2D = (16, 16),
    seed: Seed = 0,
    layer: PositiveInt | None = None,
    mean: Means = IMAGENET_MEAN,
    std: Deviations = IMAGENET_STD,
    dtype: DtypeName = "float32",
    unroll: bool = False,
) -> Frozen:
    """Build a ViT with random weights, a class token and sin-cos positions.

    seed:  of its weights alone, so that runs with other seeds share it as they would share a file.
    layer: block whose output it returns, counted from 1, without the last norm; None for the output
           of all blocks and the last norm.
    unroll: as of `compute.compute`.
    Raises ModelError for a variant or a layer that does not exist.
    Source: the first teacher of dBOT (arXiv 2209.03917), whose networks are initialised as MAE's.
    """
    size = vit.variant(variant)
    shorter = truncate_size(size, layer)
    options = {"positions": "sincos", "epsilon": 1e-6, "dtype": dtype, "unroll": unroll}
    encoder = partial(build_frozen_encoder, **options)

    def load() -> Tree:
        blank = jnp.zeros((1, 1, patch[0] * patch[1] * len(mean)))
        init = jax.jit(lambda key: encoder(size, (1, 1)).init(key, blank, None, None)["params"])
        return truncate_blocks(init(random_key(seed)), layer)

    def encode(
        params: Tree, pictures: Array, mask: Mask | None = None, capture: tuple[str, ...] = ()
    ) -> Encoded:
        module = encoder(shorter, patch_grid(pictures, patch))
        return encode_until(layer, module, params, patchify(pictures, patch), mask, capture)

    return Frozen(patch, mean, std, load, encode)


def with_learned_positions(
    load: Callable[[], Tree],
    encoder: Callable[[Size, tuple[int, int]], Callable],
    *,
    size: Size,
    patch: tuple[int, int],
    layer: int | None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    resize: Resize = resize_positions,
) -> Frozen:
    """Build a network whose positions, learned on a square grid, are resized to the pictures' grid.

    load:    () -> params with 'positions' f32[N, D].
    encoder: (size, grid) -> module as `vit.Encoder`.
    resize:  how the network's authors resize positions.
    """
    shorter = truncate_size(size, layer)

    def encode(
        params: Tree, pictures: Array, mask: Mask | None = None, capture: tuple[str, ...] = ()
    ) -> Encoded:
        grid = patch_grid(pictures, patch)
        side = math.isqrt(len(params["positions"]))
        if grid != (side, side):
            params = {**params, "positions": resize(params["positions"], (side, side), grid)}
        module, patches = encoder(shorter, grid), patchify(pictures, patch)
        return encode_until(layer, module, params, patches, mask, capture)

    return Frozen(patch, mean, std, lambda: truncate_blocks(load(), layer), encode)


def build_frozen_encoder(
    size: Size,
    grid: tuple[int, int],
    *,
    positions: str,
    epsilon: float,
    dtype: str,
    registers: int = 0,
    unroll: bool = False,
) -> vit.Encoder:
    """Build an encoder that sees every token and is not trained."""
    return vit.Encoder(
        size=size,
        class_token=True,
        registers=registers,
        positions=positions,
        mask_token=False,
        **vit.stack_fields(grid, epsilon, compute(dtype=dtype, unroll=unroll)),
    )


def truncate_size(size: Size, layer: int | None) -> Size:
    """Return the size with `layer` blocks; raise ModelError where the network has fewer."""
    if layer is None:
        return size
    if not 1 <= layer <= size.depth:
        raise ModelError(f"no layer {layer}: the blocks are 1 to {size.depth}, None is the output")
    return size._replace(depth=layer)


def truncate_blocks(params: Tree, layer: int | None) -> Tree:
    """Return the params with the first `layer` blocks; blocks are stacked along the first axis."""
    if layer is None:
        return params
    stacks = {name: params[name] for name in ("stack", "blocks") if name in params}
    return {**params, **jax.tree.map(lambda leaf: leaf[:layer], stacks)}


def encode_until(
    layer: int | None,
    encoder: nn.Module,
    params: Tree,
    patches: Array,
    mask: Mask | None,
    capture: tuple[str, ...],
) -> Encoded:
    """Return an encoder's output, or with a layer the output of its last block without the norm."""
    visible, hidden = (None, None) if mask is None else (mask.visible, mask.hidden)
    needed = capture if layer is None else tuple(dict.fromkeys((*capture, "layers")))
    encoded = encoder.apply({"params": params}, patches, visible, hidden, needed)
    return encoded if layer is None else block_output(encoded, layer)


def patch_grid(pictures: Array, patch: tuple[int, int]) -> tuple[int, int]:
    """Return the (rows, columns) of patches in normalised pictures f32[B, H, W, C]."""
    return pictures.shape[1] // patch[0], pictures.shape[2] // patch[1]
