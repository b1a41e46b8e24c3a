"""Visible tokens spread evenly over the grid: a lattice, and one token at random in every cell."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.masks.core import from_hidden, split_counts
from maskmim.types import Array, Context, Mask, Randomness

Grid = tuple[int, ...]


def regular(randomness: Randomness, context: Context, *, ratio: float) -> Mask:
    """Keeps a lattice of tokens visible, shifted cyclically by a random amount for each example.

    Tokens are ranked by `lattice_ranks` and the first are visible: every second row and column at
    0.75 on an even grid, a checkerboard at 0.5. Other ratios fill the next finer lattice evenly,
    so that any number of tokens is exact and the lattice of a larger ratio lies in that of a
    smaller one. The shift makes every token visible equally often; on an axis of odd length it
    leaves a seam. There are at most N different masks, and 4 at 0.75 on 14 x 14.

    ratio: share of hidden tokens, exact after rounding, see `split_counts`. Any number of axes.
    Source: grid-wise masks of MAE (arXiv 2111.06377), figure 6, one of every four patches visible;
    the ranking is Bayer's ordered dither (1973).
    Differences: MAE's grid has one phase and one ratio, 0.75.
    """
    grid = context.grid
    visible, hidden = split_counts(math.prod(grid), ratio)
    keys = randomness.each("mask")
    shifts = jax.vmap(lambda key: jax.random.randint(key, (len(grid),), 0, jnp.array(grid)))(keys)
    ranks = jnp.asarray(lattice_ranks(grid))
    return from_hidden(ranks[_before_shift(shifts, grid)] >= visible, count=hidden)


@functools.cache
def lattice_ranks(grid: Grid) -> np.ndarray:
    """An order of the tokens in which each next one is far from those before it: i32[N] ranks.

    The coordinates' lowest bits choose one of the 2^axes lattices of every second token, and rank
    first: opposite corners of the box before neighbouring ones. Within a lattice the next bits
    decide in the same way.
    """
    corners = _corner_ranks(len(grid))
    places = np.indices(grid).reshape(len(grid), -1)
    bits = range(max(grid).bit_length())
    keys = [corners[tuple(places >> bit & 1)] for bit in bits]
    ranks = np.empty(places.shape[1], np.int32)
    ranks[np.lexsort(keys[::-1])] = np.arange(ranks.size, dtype=np.int32)
    return ranks


def _corner_ranks(axes: int) -> np.ndarray:
    """The corners of a box in an order where each next one is farthest from those before it."""
    left = list(itertools.product((0, 1), repeat=axes))
    order = [left.pop(0)]
    while left:
        order.append(max(left, key=lambda corner: _distances(corner, order)))
        left.remove(order[-1])
    ranks = np.empty((2,) * axes, np.int64)
    ranks[tuple(np.transpose(order))] = np.arange(len(order))
    return ranks


def _distances(corner: tuple[int, ...], others: list[tuple[int, ...]]) -> list[int]:
    """Steps from a corner to the others, nearest first, so that lists compare as closeness."""
    return sorted(sum(a != b for a, b in zip(corner, other, strict=True)) for other in others)


def jittered(randomness: Randomness, context: Context, *, ratio: float) -> Mask:
    """Keeps one token visible at a random place in every cell of a regular partition of the grid.

    The partition has as many cells as there are visible tokens, see `cells`: 2 x 2 tokens each at
    0.75 on an even grid. Where cells differ in size, the partition is shifted cyclically by a
    random amount for each example, so that every token is visible equally often.

    ratio: share of hidden tokens, exact after rounding, see `split_counts`. Any number of axes.
    Source: uniform sampling of UM-MAE (arXiv 2205.10063), mask_transform.py.
    Differences: any grid and ratio; UM-MAE's are even grids at 0.75. Its four places in a cell
    are drawn from a balanced pool twice as large as needed, so that they occur almost equally
    often within an image; here cells are independent.
    """
    grid = context.grid
    visible, _ = split_counts(math.prod(grid), ratio)
    sizes = np.bincount(cells(grid, visible))
    equal = sizes.min() == sizes.max()
    reach = jnp.array([1 if equal else size for size in grid])

    def draw(key: Array) -> tuple[Array, Array]:
        for_places, for_shift = jax.random.split(key)
        places = jax.random.randint(for_places, (visible,), 0, jnp.asarray(sizes))
        return places, jax.random.randint(for_shift, (len(grid),), 0, reach)

    places, shifts = jax.vmap(draw)(randomness.each("mask"))
    return jittered_masks(places, shifts, grid=grid)


def jittered_masks(places: Array, shifts: Array, *, grid: Grid) -> Mask:
    """The masks that show one given token of every cell; nothing is random.

    places: i32[B, K] the visible token of each of the K cells, counted along the grid within its
    cell; shifts: i32[B, axes] how far the partition moves along each axis, cyclically.
    """
    count = places.shape[-1]
    of_token = cells(grid, count)
    by_cell = np.argsort(of_token, kind="stable")
    sizes = np.bincount(of_token)
    inside = np.empty_like(of_token)
    inside[by_cell] = np.arange(of_token.size) - (np.cumsum(sizes) - sizes).repeat(sizes)
    source = _before_shift(shifts, grid)
    shown = jnp.take_along_axis(places, jnp.asarray(of_token)[source], axis=1)
    return from_hidden(jnp.asarray(inside)[source] != shown, count=of_token.size - count)


@functools.cache
def cells(grid: Grid, count: int) -> np.ndarray:
    """A partition of the grid into `count` boxes as compact as they can be: i64[N], cell numbers.

    The first axis is cut into bands and each band into cells along the other axes; how many bands
    is what makes tokens of a cell closest to each other. Bands differ by one row and one cell at
    most.
    """
    size, *rest = grid
    if not rest:
        return np.arange(size) * count // size
    bands = _bands(grid, count)[0]
    rows, numbers = _even(size, bands), _even(count, bands)
    parts = [
        np.tile(cells(tuple(rest), number) + start, tall)
        for tall, number, start in zip(rows, numbers, np.cumsum(numbers) - numbers, strict=True)
    ]
    return np.concatenate(parts)


@functools.cache
def _bands(grid: Grid, count: int) -> tuple[int, int]:
    """The best number of bands along the first axis, and how far apart tokens of a cell are then.

    The distance is a sum over tokens, in twelfths of a squared token: (length^2 - 1) / 12 is the
    variance of places in a cell along one axis.
    """
    size, *rest = grid
    if not rest:
        lengths = _even(size, count)
        return count, int((lengths * (lengths**2 - 1)).sum())
    area = math.prod(rest)
    tried = []
    for bands in range(-(-count // area), min(size, count) + 1):
        rows, numbers = _even(size, bands), _even(count, bands)
        apart = sum(
            int(tall) * (area * int(tall**2 - 1) + _bands(tuple(rest), int(number))[1])
            for tall, number in zip(rows, numbers, strict=True)
        )
        tried.append((apart, bands))
    apart, bands = min(tried)
    return bands, apart


def _even(total: int, parts: int) -> np.ndarray:
    """A total cut into parts that differ by 1 at most: i64[parts]."""
    return np.diff(np.arange(parts + 1) * total // parts)


def _before_shift(shifts: Array, grid: Grid) -> Array:
    """Where each token was before the grid was shifted cyclically: i32[B, axes] -> i32[B, N]."""
    source = jnp.zeros((shifts.shape[0], math.prod(grid)), jnp.int32)
    for axis, (size, places) in enumerate(zip(grid, np.indices(grid), strict=True)):
        moved = (places.reshape(-1) - shifts[:, axis, None]) % size
        source = source * size + moved.astype(jnp.int32)
    return source
