"""Conversion of images, clips and spectrograms to sequences of patches and back."""

from __future__ import annotations

import math

import jax.numpy as jnp

from maskmim.types import Array


def patchify(inputs: Array, patch: tuple[int, ...]) -> Array:
    """Cut [B, *size, C] into patches [B, N, V]; patches and their values are in row-major order.

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
    """Invert `patchify` on a grid of tokens."""
    axes = len(patch)
    cut = patches.reshape(patches.shape[0], *grid, *patch, -1)
    order = [dimension for axis in range(1, axes + 1) for dimension in (axis, axes + axis)]
    size = [count * side for count, side in zip(grid, patch, strict=True)]
    return cut.transpose(0, *order, 2 * axes + 1).reshape(patches.shape[0], *size, cut.shape[-1])


def upsample_tokens(values: Array, grid: tuple[int, ...], times: int) -> Array:
    """Repeat the value of each token, [B, N], `times` along rows and columns of its grid.

    grid: of the tokens, rows and columns last. Returns [B, *grid], the last two `times` as long.
    """
    return values.reshape(-1, *grid).repeat(times, axis=-2).repeat(times, axis=-1)


def gather(tokens: Array, indices: Array) -> Array:
    """Select each example's tokens by its indices: [B, N, D], i32[B, K] -> [B, K, D].

    Indices must be below N; nothing is checked under jit.
    """
    return jnp.take_along_axis(tokens, indices[..., None], axis=1, mode="promise_in_bounds")
