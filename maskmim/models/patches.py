"""Pictures as sequences of patches and back."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.types import Array


def patchify(images: Array, patch: tuple[int, int]) -> Array:
    """[B, H, W, C] -> [B, N, p * q * C]: patches row-major, values by row, column, channel."""
    examples, height, width, channels = images.shape
    rows, columns = height // patch[0], width // patch[1]
    cut = images.reshape(examples, rows, patch[0], columns, patch[1], channels)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(examples, rows * columns, -1)


def unpatchify(patches: Array, patch: tuple[int, int], grid: tuple[int, int]) -> Array:
    """The inverse of `patchify` on a grid of (rows, columns)."""
    rows, columns = grid
    cut = patches.reshape(patches.shape[0], rows, columns, *patch, -1).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(patches.shape[0], rows * patch[0], columns * patch[1], -1)


def gather(tokens: Array, places: Array) -> Array:
    """The tokens of each example at its places: [B, N, D], i32[B, K] -> [B, K, D].

    Places must lie within the N tokens; nothing is checked under jit.
    """
    return jnp.take_along_axis(tokens, places[..., None], axis=1, mode="promise_in_bounds")
