"""Pictures, clips and spectrograms as sequences of patches and back."""

from __future__ import annotations

import math

import jax.numpy as jnp

from maskmim.types import Array


def patchify(inputs: Array, patch: tuple[int, ...]) -> Array:
    """[B, *size, C] -> [B, N, V]: patches row-major over the axes of `size`, so are their values.

    A clip [B, T, H, W, C] with patches (t, p, q) gives V = t * p * q * C values in the order time,
    row, column, channel.
    """
    examples, *size, channels = inputs.shape
    axes = len(patch)
    split = [n for length, side in zip(size, patch, strict=True) for n in (length // side, side)]
    cut = inputs.reshape(examples, *split, channels)
    outer, inner = range(1, 2 * axes, 2), range(2, 2 * axes + 1, 2)
    values = math.prod(patch) * channels
    return cut.transpose(0, *outer, *inner, 2 * axes + 1).reshape(examples, -1, values)


def unpatchify(patches: Array, patch: tuple[int, ...], grid: tuple[int, ...]) -> Array:
    """The inverse of `patchify` on a grid of tokens."""
    axes = len(patch)
    cut = patches.reshape(patches.shape[0], *grid, *patch, -1)
    order = [place for axis in range(1, axes + 1) for place in (axis, axes + axis)]
    size = [count * side for count, side in zip(grid, patch, strict=True)]
    return cut.transpose(0, *order, 2 * axes + 1).reshape(patches.shape[0], *size, cut.shape[-1])


def finer(values: Array, grid: tuple[int, ...], times: int) -> Array:
    """[B, N] one value of each token -> [B, *grid], `times` as fine in rows and columns.

    grid: of the tokens, rows and columns last.
    """
    return values.reshape(-1, *grid).repeat(times, axis=-2).repeat(times, axis=-1)


def gather(tokens: Array, places: Array) -> Array:
    """The tokens of each example at its places: [B, N, D], i32[B, K] -> [B, K, D].

    Places must lie within the N tokens; nothing is checked under jit.
    """
    return jnp.take_along_axis(tokens, places[..., None], axis=1, mode="promise_in_bounds")
