"""Rotary positions on images, CAPI's and EVA-02's: places, frequencies of channels, rotation."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from maskmim.errors import UserError
from maskmim.types import Array


class RotaryError(UserError, ValueError):
    """Heads, grids or registers that these rotary positions do not support."""


def grid_coordinates(grid: tuple[int, ...]) -> np.ndarray:
    """Return coordinates of the tokens f32[N, 2], row-major, from 0 (first row, column) to 1.

    Raises RotaryError unless the grid is (rows, columns).
    """
    if len(grid) != 2:
        raise RotaryError(f"these rotary positions need a grid of (rows, columns), got {grid}")
    axes = [np.linspace(0, 1, count) for count in grid]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2).astype(np.float32)


def border_coordinates(count: int) -> np.ndarray:
    """Return coordinates of registers f32[count, 2], evenly along the border of the unit square.

    Clockwise if the first coordinate points to the right. Raises RotaryError unless four divides
    `count`.
    """
    if count % 4:
        raise RotaryError(f"{count} registers on the border of the picture: use a multiple of 4")
    along = np.arange(count // 4) / max(count // 4, 1)
    low, high = np.zeros_like(along), np.ones_like(along)
    sides = [(along, low), (high, along), (1 - along, high), (low, 1 - along)]
    return np.concatenate([np.stack(side, -1) for side in sides]).astype(np.float32)


def frequencies(size: int, *, highest: float = 7.0, lowest: float = 7e-4) -> np.ndarray:
    """Return frequencies of the first quarter of a head's channels: f32[size / 4].

    In radians over the image. size: of a head. highest, lowest: in whole turns; between them a
    geometric sequence.
    Raises RotaryError unless four divides the size.
    """
    if size % 4:
        raise RotaryError(f"heads of {size} channels: rotary positions need a multiple of 4")
    steps = np.linspace(0, -1, size // 4)
    return (2 * math.pi * highest * (highest / lowest) ** steps).astype(np.float32)


def angles(coordinates: Array, size: int) -> Array:
    """Return the angle of every channel at coordinates f32[B, n, 2]: f32[B, 1, n, size].

    size: of a head. The first half of the channels turns with the first coordinate, the second half
    with the second; each half has all frequencies twice.
    """
    once = jnp.asarray(frequencies(size))
    twice = jnp.concatenate([once, once])[None, None]
    halves = [coordinates[..., axis, None] * twice for axis in (0, 1)]
    return jnp.concatenate(halves, axis=-1)[:, None]


def rotate(x: Array, angle: Array) -> Array:
    """Rotate queries or keys [B, heads, n, size] by angles f32[B, 1, n, size], in float32 inside.

    Channel j is paired with channel j + size / 2, which has the frequency of j and the other
    coordinate. So a pair (a, b) at (y, x) becomes (a cos fy - b sin fy, b cos fx + a sin fx), a
    rotation only where y = x, and scores depend on more than the distance of two tokens. The
    official code computes this and its weights were trained with it, intended or not: its comment
    says that frequencies come twice for pairs of channels, but rotate_half, written for one axis,
    takes a pair from different halves.
    Source: Rope and rotate_half of model.py, facebookresearch/capi.
    """
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    partner = jnp.concatenate([-second, first], axis=-1)
    return (x * jnp.cos(angle) + partner * jnp.sin(angle)).astype(x.dtype)


def axial_angles(grid: tuple[int, ...], size: int, *, reference: int = 16) -> np.ndarray:
    """Return the angle of every channel at every token of a grid: f32[N, size], row-major.

    size: of a head. The first half of the channels turns with the row, the second half with the
    column, each pair of neighbours at a frequency of its own, from 1 down to nearly 1 / 10000
    radians per token; on grids of other sides than `reference` tokens are `reference / side` apart.
    Raises RotaryError unless the grid is (rows, columns) and four divides the size.
    Source: EVA-02 (arXiv 2303.11331), VisionRotaryEmbeddingFast of rope.py in jihaonew/UTA.
    """
    if len(grid) != 2 or size % 4:
        raise RotaryError(
            f"heads of {size} channels on the grid {grid}: rotary positions need a multiple of 4 "
            "and (rows, columns)"
        )
    speeds = np.repeat(10000.0 ** (-np.arange(0, size // 2, 2) / (size // 2)), 2)
    turns = [np.arange(side)[:, None] * reference / side * speeds for side in grid]
    rows = np.broadcast_to(turns[0][:, None], (*grid, size // 2))
    columns = np.broadcast_to(turns[1][None], (*grid, size // 2))
    return np.concatenate([rows, columns], axis=-1).reshape(-1, size).astype(np.float32)


def rotate_pairs(x: Array, angle: Array) -> Array:
    """Rotate pairs of neighbouring channels of [B, heads, n, size] by f32[B, 1, n, size].

    Scores of rotated queries and keys depend on the distance of two tokens alone. Float32 inside.
    Source: rotate_half of rope.py in jihaonew/UTA.
    """
    x32 = x.astype(jnp.float32)
    even, odd = x32[..., ::2], x32[..., 1::2]
    partner = jnp.stack([-odd, even], axis=-1).reshape(x.shape)
    return (x32 * jnp.cos(angle) + partner * jnp.sin(angle)).astype(x.dtype)
