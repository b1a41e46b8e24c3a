"""Pictures of the histograms of oriented gradients of tokens, under jit."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.targets.hog_glyphs import strokes
from maskmim.types import Array


def draw_strokes(
    values: Array, shape: tuple[int, ...], grid: tuple[int, ...], *, bins: int, cell: int
) -> Array:
    """Draw histograms of cubes f32[B, N, V] as strokes u8[B, t, H, W, C], the shape of the frames.

    Histograms are averaged over the channels; see `hog_glyphs.glyphs`.
    """
    examples, frames, height, width, channels = shape
    down, across = height // cell // grid[1], width // cell // grid[2]
    split = values.reshape(examples, *grid, channels, bins, down, across)
    cells = split.mean(axis=4).transpose(0, 1, 2, 5, 3, 6, 4)
    cells = jnp.maximum(cells.reshape(examples, frames, height // cell, width // cell, bins), 0)
    drawing = jnp.max(cells[..., None, None] * strokes(bins, cell)[None, None, None, None], axis=4)
    drawing = drawing.transpose(0, 1, 2, 4, 3, 5).reshape(examples, frames, height, width, 1)
    bright = drawing / jnp.maximum(jnp.max(drawing, axis=(1, 2, 3, 4), keepdims=True), 1e-12)
    return jnp.repeat(jnp.round(255 * bright).astype(jnp.uint8), channels, axis=-1)
