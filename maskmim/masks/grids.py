"""Masks whose visible tokens spread evenly: a lattice, and one random token in every cell."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.config.ranges import OpenFraction
from maskmim.masks.core import from_hidden, split_counts
from maskmim.types import Array, Context, Mask, Randomness

Grid = tuple[int, ...]


def regular(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide all but a lattice of tokens, shifted cyclically at random.

    Tokens are ranked by `lattice_ranks` and the first are visible: every second row and column at
    0.75 on an even grid, a checkerboard at 0.5. Other ratios fill the next finer lattice evenly,
    so that every number of tokens is exact and the lattice of a larger ratio lies in that of a
    smaller one. The shift, one for each example, makes every token visible equally often; on an
    axis of odd length it leaves a seam. At most N masks are different, 4 at 0.75 on 14 x 14.

    ratio: share of hidden tokens, exact after rounding, see `split_counts`. Any number of axes.
    Source: grid-wise masks of MAE (arXiv 2111.06377), figure 6, one of every four patches visible;
    the ranking is Bayer's ordered dither (1973).
    Differences: MAE's grid has one phase and one ratio, 0.75.
    """
    grid = context.grid
    visible, hidden = split_counts(math.prod(grid), ratio)
    keys = randomness.each("mask")
    shifts = jax.vmap(
        lambda key: jax.random.randint(key, (len(grid),), 0, jnp.array(grid), jnp.int32)
    )(keys)
    ranks = jnp.asarray(lattice_ranks(grid))
    return from_hidden(ranks[_before_shift(shifts, grid)] >= visible, count=hidden)


@functools.cache
def lattice_ranks(grid: Grid) -> np.ndarray:
    """Return ranks of the tokens in which each is far from those before it: i32[N].

    The lowest bits of the coordinates choose one of the 2^axes lattices of every second token and
    decide first: opposite corners of the box before neighbouring ones. Within a lattice the next
    bits decide in the same way.
    """
    corners = _corner_ranks(len(grid))
    places = np.indices(grid).reshape(len(grid), -1)
    bits = range(max(grid).bit_length())
    keys = [corners[tuple(places >> bit & 1)] for bit in bits]
    ranks = np.empty(places.shape[1], np.int32)
    ranks[np.lexsort(keys[::-1])] = np.arange(ranks.size, dtype=np.int32)
    return ranks


def _corner_ranks(axes: int) -> np.ndarray:
    """Return ranks of a box's corners in which each is farthest from those before it."""
    left = list(itertools.product((0, 1), repeat=axes))
    order = [left.pop(0)]
    while left:
        order.append(max(left, key=lambda corner: _distances(corner, order)))
        left.remove(order[-1])
    ranks = np.empty((2,) * axes, np.int64)
    ranks[tuple(np.transpose(order))] = np.arange(len(order))
    return ranks


def _distances(corner: tuple[int, ...], others: list[tuple[int, ...]]) -> list[int]:
    """Return the steps from a corner to the others, nearest first; lists compare as distances."""
    return sorted(sum(a != b for a, b in zip(corner, other, strict=True)) for other in others)


def jittered(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide all but one random token in every cell of a regular partition of the grid.

    The partition has as many cells as visible tokens, see `cells`: 2 x 2 tokens each at 0.75 on an
    even grid. Where cells differ in size, the partition is shifted cyclically by a random amount
    for each example, so that every token is visible equally often.

    ratio: share of hidden tokens, exact after rounding, see `split_counts`. Any number of axes.
    Source: uniform sampling of UM-MAE (arXiv 2205.10063), mask_transform.py.
    Differences: any grid and ratio; UM-MAE has even grids at 0.75. It draws the four places in a
    cell from a balanced pool twice as large as needed, so that they occur almost equally often
    within an image; here cells are independent.
    """
    grid = context.grid
    visible, _ = split_counts(math.prod(grid), ratio)
    sizes = np.bincount(cells(grid, visible))
    equal = sizes.min() == sizes.max()
    reach = jnp.array([1 if equal else size for size in grid])

    def draw(key: Array) -> tuple[Array, Array]:
        for_places, for_shift = jax.random.split(key)
        places = jax.random.randint(for_places, (visible,), 0, jnp.asarray(sizes), jnp.int32)
        return places, jax.random.randint(for_shift, (len(grid),), 0, reach, jnp.int32)

    places, shifts = jax.vmap(draw)(randomness.each("mask"))
    return jittered_masks(places, shifts, grid=grid)


def jittered_masks(places: Array, shifts: Array, *, grid: Grid) -> Mask:
    """Hide all but one given token of every cell; nothing is random.

    places: i32[B, K] the visible token of each of the K cells, counted along the grid within its
    cell; shifts: i32[B, axes] how far the partition moves along each axis, cyclically.
    """
    count = places.shape[-1]
    cell = cells(grid, count)
    by_cell = np.argsort(cell, kind="stable")
    sizes = np.bincount(cell)
    inside = np.empty_like(cell)
    inside[by_cell] = np.arange(cell.size) - (np.cumsum(sizes) - sizes).repeat(sizes)
    source = _before_shift(shifts, grid)
    shown = jnp.take_along_axis(places, jnp.asarray(cell)[source], axis=1)
    return from_hidden(jnp.asarray(inside)[source] != shown, count=cell.size - count)


@functools.cache
def cells(grid: Grid, count: int) -> np.ndarray:
    """Partition the grid into `count` boxes, as compact as possible: i64[N], the cell of a token.

    The first axis is cut into bands and each band into cells along the other axes, with the number
    of bands that brings tokens of a cell closest together. Bands differ by one row and one cell at
    most.
    """
    size, *rest = grid
    if not rest:
        return np.arange(size) * count // size
    bands = _bands(grid, count)[0]
    rows, numbers = _even_parts(size, bands), _even_parts(count, bands)
    parts = [
        np.tile(cells(tuple(rest), number) + start, height)
        for height, number, start in zip(rows, numbers, np.cumsum(numbers) - numbers, strict=True)
    ]
    return np.concatenate(parts)


@functools.cache
def _bands(grid: Grid, count: int) -> tuple[int, int]:
    """Return the best number of bands along the first axis and the spread of its cells.

    The spread is a sum over tokens, in twelfths of a squared token: (length^2 - 1) / 12 is the
    variance of places in a cell along one axis.
    """
    size, *rest = grid
    if not rest:
        lengths = _even_parts(size, count)
        return count, int((lengths * (lengths**2 - 1)).sum())
    area = math.prod(rest)
    candidates = []
    for bands in range(-(-count // area), min(size, count) + 1):
        rows, numbers = _even_parts(size, bands), _even_parts(count, bands)
        spread = sum(
            int(height) * (area * int(height**2 - 1) + _bands(tuple(rest), int(number))[1])
            for height, number in zip(rows, numbers, strict=True)
        )
        candidates.append((spread, bands))
    spread, bands = min(candidates)
    return bands, spread


def _even_parts(total: int, parts: int) -> np.ndarray:
    """Cut a total into parts that differ by 1 at most: i64[parts]."""
    return np.diff(np.arange(parts + 1) * total // parts)


def _before_shift(shifts: Array, grid: Grid) -> Array:
    """Return each token's place before a cyclic shift of the grid: i32[B, axes] -> i32[B, N]."""
    source = jnp.zeros((shifts.shape[0], math.prod(grid)), jnp.int32)
    for axis, (size, places) in enumerate(zip(grid, np.indices(grid), strict=True)):
        before = (places.reshape(1, -1) - shifts[:, axis, None]) % size
        source = source * size + before.astype(jnp.int32)
    return source
