"""Random rectangles of exactly `count` tokens, from which block masks are made.

A rectangle's first side is drawn log-uniformly around the side of a square of `count` tokens, the
last side follows. Sides are rounded up and surplus tokens are cut off the end in raster order, so
that the number is exact on any grid: the last rows of the rectangle may be missing or short.

On three axes they are boxes and the rule is repeated: the aspect of an axis is its side over the
geometric mean of the sides that follow, so that on two axes it is height over width. On one axis a
rectangle is a segment.

Source: BlockMasking of data.py, facebookresearch/capi.
Differences: aspects that do not fit the grid are replaced by the nearest that do; the official
code fails with them, for example on a grid of one row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from maskmim.masks.core import MaskError
from maskmim.types import Array

Within = Callable[[Array, Array, Array, Array], tuple[Array, Array]]
# The most that float32 logarithms add to a side that is a whole number.
ROUNDING = 1e-4


def inside(
    keys: Array, grid: Sequence[int], *, count: int, aspect: tuple[float, float] = (0.5, 2.0)
) -> Array:
    """Draw one rectangle in each example, at a uniformly random place within the grid.

    keys: [B]. count: tokens of the rectangle, from 1 to those of the grid. aspect: smallest and
    largest height over width. Returns bool[B, *grid] with exactly `count` true in every example.
    Raises MaskError for an invalid count or aspect.
    """
    uniforms = _uniforms(keys, 2 * len(grid) - 1)
    sides = whole_sides(uniforms[:, : len(grid) - 1], grid, count=count, aspect=aspect)
    starts = places(uniforms[:, len(grid) - 1 :], jnp.array([grid]) - sides + 1)
    return boxes(sides, starts, grid, count=count)


def rolled(
    keys: Array, grid: Sequence[int], *, count: int, aspect: tuple[float, float] = (0.5, 2.0)
) -> Array:
    """Draw one rectangle in each example at a uniformly random place of the cyclic grid.

    Arguments, result and errors as `inside`; a part beyond one border enters at the opposite one.
    The official code places the rectangle within the grid, then rolls the mask by uniform shifts:
    the same distribution.
    """
    uniforms = _uniforms(keys, 2 * len(grid) - 1)
    sides = whole_sides(uniforms[:, : len(grid) - 1], grid, count=count, aspect=aspect)
    starts = places(uniforms[:, len(grid) - 1 :], jnp.array([grid]))
    return boxes(sides, starts, grid, count=count)


def boxes(sides: Array, starts: Array, grid: Sequence[int], *, count: int) -> Array:
    """Mark the first `count` tokens, in raster order, of given boxes: bool[B, *grid].

    sides, starts: i32[B, axes]; a box that passes the end of an axis continues at its start.
    Fewer tokens are true where the box has fewer.
    """
    inside_box, rank = jnp.bool_(True), jnp.int32(0)
    for axis, size in enumerate(grid):
        shape = [-1 if place == axis else 1 for place in range(len(grid))]
        offset = (jnp.arange(size)[None] - starts[:, axis, None]) % size
        side = sides[:, axis].reshape(-1, *[1] * len(grid))
        offset = offset.reshape(len(offset), *shape)
        inside_box = inside_box & (offset < side)
        rank = rank * side + offset
    return inside_box & (rank < count)


def whole_sides(
    uniforms: Array, grid: Sequence[int], *, count: int, aspect: tuple[float, float]
) -> Array:
    """Return sides i32[B, axes] of boxes that hold at least `count` tokens, from given noise.

    uniforms: f32[B, axes - 1] in [0, 1). Raises MaskError as `inside`.
    """
    if not 0 < count <= math.prod(grid):
        raise MaskError(
            f"a rectangle of {count} tokens on the token grid {tuple(grid)}: it must have at least "
            "one and at most all tokens"
        )
    real = real_sides(uniforms, jnp.float32(count), grid, aspect, within=narrowed)
    sides, product = [], 1
    for axis, size in enumerate(grid):
        least = -(-count // (product * math.prod(grid[axis + 1 :])))
        side = jnp.ceil(real[axis] - ROUNDING).astype(jnp.int32)
        sides.append(jnp.clip(side, least, size))
        product = product * sides[-1]
    return jnp.stack([jnp.broadcast_to(side, uniforms.shape[:-1]) for side in sides], -1)


def real_sides(
    uniforms: Array,
    volume: Array,
    limits: Sequence[float],
    aspect: tuple[float, float],
    *,
    within: Within,
) -> list[Array]:
    """Return the sides f32[...] on each axis of boxes of real volume, log-uniform in aspect.

    uniforms: f32[..., axes - 1] in [0, 1). volume: f32[...] tokens. limits: longest side on each
    axis. within: (low, high, least, most) -> the range to draw from, fitted to the limits.
    """
    low, high = _log_aspect(aspect)
    sides = []
    for axis, limit in enumerate(limits[:-1]):
        axes = len(limits) - axis
        share = (axes - 1) / axes
        square = jnp.log(volume) / axes
        least = jnp.log(volume / math.prod(limits[axis + 1 :]))
        ends = within(square + share * low, square + share * high, least, math.log(limit))
        side = jnp.exp(ends[0] + uniforms[..., axis] * (ends[1] - ends[0]))
        sides.append(side)
        volume = volume / side
    return [*sides, volume]


def narrowed(low: Array, high: Array, least: Array, most: Array) -> tuple[Array, Array]:
    """Return the part of a range that fits, or the nearest value that does."""
    return jnp.clip(low, least, most), jnp.clip(high, least, most)


def places(uniforms: Array, choices: Array) -> Array:
    """Turn uniform numbers in [0, 1) into whole numbers below `choices`."""
    return jnp.minimum((uniforms * choices.astype(jnp.float32)).astype(jnp.int32), choices - 1)


def _uniforms(keys: Array, count: int) -> Array:
    return jax.vmap(lambda key: jax.random.uniform(key, (count,), jnp.float32))(keys)


def _log_aspect(aspect: tuple[float, float]) -> tuple[float, float]:
    low, high = aspect
    if not 0 < low <= high:
        raise MaskError(f"aspect {aspect}: the smallest must be above 0, the largest not below it")
    return math.log(low), math.log(high)
