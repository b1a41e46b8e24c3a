"""Block-wise masks: blocks added until the number is reached, cubes in clips, one visible block.

Published generators of blocks stop short of the number when no further block fits, so that
examples differ in their number of hidden tokens. A step of static shape needs the exact number:
here a fixed number of blocks is tried, each by the published law; then tokens that touch a hidden
one are hidden in random order until the number is reached (`top_up`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import Fraction, FractionRange, OpenFraction, PositiveInt, PositiveRange
from maskmim.masks import rectangles
from maskmim.masks.core import MaskError, from_hidden, keep_strongest, split_counts
from maskmim.types import Array, Context, Mask, Randomness

# (uniform numbers f32[B, k], missing tokens i32[B]) -> sides f32[B, axes], starts i32[B, axes]
Proposal = Callable[[Array, Array], tuple[Array, Array]]


def beit(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    smallest: PositiveInt = 16,
    aspect: PositiveRange = (0.3, 1 / 0.3),
    trials: PositiveInt = 128,
) -> Mask:
    """Hide blocks of random sizes and aspects, added until the number is reached.

    ratio: share of hidden tokens, exact after rounding. smallest: tokens of the smallest block.
    aspect: smallest and largest height over width. trials: blocks tried, see `beit_blocks`.
    Works on a grid of one to three axes. Raises MaskError for invalid arguments.

    The middle of the grid is hidden more often than its rim: on 14 x 14 at 0.4 a corner in 4.5 %
    of the masks and the middle in 74 %, as in the official code (see tests/masks/test_blocks.py).

    Source: BEiT (arXiv 2106.08254, section 2.3, algorithm 1); beit/masking_generator.py of
    microsoft/unilm, which BEiT v2, CAE and MaskFeat use as well. BEiT hides 75 of 196 tokens,
    CAE 98, MaskFeat 78 with `smallest` 15.
    Differences: see `beit_blocks` and `top_up`.
    """
    grid = context.grid
    _, count = split_counts(math.prod(grid), ratio)
    uniforms, order = _noise(randomness, trials, 2 * len(grid), grid)
    hidden = beit_blocks(uniforms, grid, count=count, smallest=smallest, aspect=aspect)
    return from_hidden(top_up(hidden, order, count=count), count=count)


def beit_blocks(
    uniforms: Array,
    grid: Sequence[int],
    *,
    count: int | Array,
    smallest: int = 16,
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> Array:
    """Hide up to `count` tokens in whole blocks, from given noise; nothing is random.

    count: the same in every example, or i32[B].

    The area of a block is uniform between `smallest` and the number of tokens still missing. It is
    accepted if it is shorter than the grid on every axis and hides at least one new token and at
    most as many as are missing.

    uniforms: f32[B, trials, 2 axes] in [0, 1): for each block its area, aspects and place.
    Returns bool[B, *grid].
    Differences: the official code stops after ten rejected blocks in a row; on 14 x 14 at 0.4 it
    reaches the number for 69 % of the masks. CAE's code continues without a bound until it is
    reached: 10 blocks at the median, 70 at the 99th percentile. Where no aspect of the range fits
    the grid with a block's area, the nearest that does is used; the official code rejects such
    blocks, so that on 32 x 4 it hides only 30 of 51 tokens.
    """
    if smallest < 1:
        raise MaskError(f"smallest {smallest}: a block has at least one token")
    axes = len(grid)

    def propose(noise: Array, missing: Array) -> tuple[Array, Array]:
        area = smallest + noise[:, 0] * (missing - smallest).astype(noise.dtype)
        sides = _sides(noise[:, 1:axes], area, grid, aspect)
        return sides, rectangles.places(noise[:, axes:], jnp.array([grid]) - sides + 1)

    return _add_blocks(uniforms, grid, count, propose, limits=_longest_sides(grid))


@facts.sampler(axes=(3,))
def cubes(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    area: FractionRange = (0.2, 1.0),
    aspect: PositiveRange = (0.3, 1 / 0.3),
    trials: PositiveInt = 128,
) -> Mask:
    """Hide cubes of a clip: blocks in space, each over a random window of time.

    ratio: share of hidden tokens, exact after rounding. area: smallest and largest block, as shares
    of the tokens of one time step. aspect: smallest and largest height over width. trials: cubes
    tried, see `cube_blocks`.
    Raises MaskError unless the grid is (time, rows, columns), and for invalid arguments.

    Source: MaskFeat (arXiv 2112.09133); MaskingGenerator3D of
    slowfast/datasets/transform.py, facebookresearch/SlowFast.
    Differences: MaskFeat draws on the 8 x 7 x 7 grid of MViT's last stage; here the grid is that of
    the tokens. See `cube_blocks` and `top_up`.
    """
    grid = context.grid
    if len(grid) != 3:
        raise MaskError(
            f"cubes need a token grid of (time, rows, columns), got {grid}: use blocks.beit"
        )
    _, count = split_counts(math.prod(grid), ratio)
    uniforms, order = _noise(randomness, trials, 6, grid)
    hidden = cube_blocks(uniforms, grid, count=count, area=area, aspect=aspect)
    return from_hidden(top_up(hidden, order, count=count), count=count)


def cube_blocks(
    uniforms: Array,
    grid: Sequence[int],
    *,
    count: int,
    area: tuple[float, float] = (0.2, 1.0),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> Array:
    """Hide up to `count` tokens in whole cubes, from given noise; nothing is random.

    The area of a cube in space is uniform in the range of `area`, however many tokens are missing,
    and its length in time uniform from one step to all. It is accepted if it is shorter than the
    grid on both axes of space and hides at least one new token and at most as many as are missing.

    uniforms: f32[B, trials, 6] in [0, 1): for each cube its area, aspect, length and place.
    Returns bool[B, *grid].
    Differences: the official code stops after a hundred rejected cubes in a row; on 8 x 7 x 7 at
    0.4 its masks hide 155.7 of 157 tokens on average, 128 cubes in all nearly as many (155.5).
    Aspects that do not fit are replaced as in `beit_blocks`.
    """
    time, *space = grid
    tokens = math.prod(space)
    smallest, largest = max(1, int(area[0] * tokens)), int(area[1] * tokens)
    if not smallest <= largest <= tokens:
        raise MaskError(f"area {area}: shares of a time step, the smallest first, at most 1")

    def propose(noise: Array, missing: Array) -> tuple[Array, Array]:
        size = smallest + noise[:, 0] * (largest - smallest)
        sides = _sides(noise[:, 1:2], size, space, aspect)
        length = 1 + rectangles.places(noise[:, 2:3], jnp.array([[time]]))
        sides = jnp.concatenate([length, sides], axis=1)
        return sides, rectangles.places(noise[:, 3:], jnp.array([grid]) - sides + 1)

    return _add_blocks(uniforms, grid, count, propose, limits=[time, *_longest_sides(space)])


def inverse(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    aspect: PositiveRange = (0.5, 2.0),
) -> Mask:
    """Hide all but one rectangle, shifted cyclically at random around the grid.

    ratio: share of hidden tokens, exact after rounding. aspect: smallest and largest height over
    width of the visible rectangle. Every token is visible equally often.
    Works on a grid of one to three axes. Raises MaskError for an invalid aspect.

    Source: CAPI (arXiv 2502.08769); InverseBlockMasking of data.py,
    facebookresearch/capi, with its default roll.
    Differences: `round(ratio * N)` tokens are hidden, where the official code hides
    `int(N * ratio)`: the same number, 166, for 0.65 of 256. CAPI predicts a random twentieth of the
    hidden tokens: wrap this sampler in `roles.partly_predicted`.
    """
    grid = context.grid
    visible, hidden = split_counts(math.prod(grid), ratio)
    shown = rectangles.rolled(randomness.each("mask"), grid, count=visible, aspect=aspect)
    return from_hidden(~shown.reshape(len(shown), -1), count=hidden)


@facts.sampler(axes=(2,))
def islands(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    side: PositiveInt = 3,
    extra: Fraction = 0.07,
) -> Mask:
    """Hide all but small squares around random tokens, corrected by single tokens to the number.

    ratio: share of hidden tokens, exact after rounding. side: of the squares, which the border
    cuts. extra: their area without overlaps is this much above the share of visible tokens.
    Random visible tokens are hidden where the squares show too many, random hidden ones are shown
    where they show too few. Raises MaskError unless the grid is (rows, columns).

    Source: data2vec 2.0 (arXiv 2212.07525), compute_block_mask_2d of fairseq/data/data_utils.py
    with inverse_mask; ViT-B hides 157 of 196 tokens, ViT-L 147 with an `extra` of 0.1.
    """
    if len(context.grid) != 2:
        raise MaskError(f"islands need a token grid of (rows, columns), got {context.grid}")
    visible, hidden = split_counts(context.length, ratio)
    squares = max(1, int(context.length * (1 - ratio + extra) / side**2 + 1e-9))
    keys = jax.vmap(jax.random.split)(randomness.each("mask"))
    length = context.length
    draw = partial(jax.random.randint, shape=(squares,), minval=0, maxval=length, dtype=jnp.int32)
    centres = jax.vmap(draw)(keys[:, 0])
    noise = jax.vmap(lambda key: jax.random.uniform(key, (length,), jnp.float32))(keys[:, 1])
    shown = island_squares(centres, context.grid, side=side)
    return from_hidden(~keep_strongest(shown.astype(jnp.float32) + noise, visible), count=hidden)


def island_squares(centres: Array, grid: tuple[int, int], *, side: int) -> Array:
    """Mark squares around tokens, from given centres i32[B, n]: bool[B, N]; nothing is random."""
    rows, columns = jnp.divmod(jnp.arange(grid[0] * grid[1]), grid[1])
    low, high = -(side // 2), side - 1 - side // 2

    def within(places: Array, centre: Array) -> Array:
        apart = places[None, None] - centre[..., None]
        return (apart >= low) & (apart <= high)

    middle = jnp.divmod(centres, grid[1])
    return (within(rows, middle[0]) & within(columns, middle[1])).any(1)


def top_up(hidden: Array, order: Array, *, count: int) -> Array:
    """Hide further tokens until `count` are hidden: bool[B, *grid] -> bool[B, N].

    Tokens that touch a hidden one come first, then the others, both in the given order.
    hidden: at most `count` true in every example. order: f32[B, N] in [0, 1), the largest first.
    """
    touching = jnp.zeros(hidden.shape, bool)
    for axis in range(1, hidden.ndim):
        size = hidden.shape[axis]
        edge = jnp.zeros_like(jax.lax.slice_in_dim(hidden, 0, 1, axis=axis))
        padded = jnp.concatenate([edge, hidden, edge], axis)
        touching |= jax.lax.slice_in_dim(padded, 0, size, axis=axis)
        touching |= jax.lax.slice_in_dim(padded, 2, size + 2, axis=axis)
    rank = jnp.where(hidden, 2.0, jnp.where(touching, 1.0, 0.0))
    return keep_strongest(rank.reshape(order.shape) + order, count)


def _noise(
    randomness: Randomness, trials: int, numbers: int, grid: Sequence[int]
) -> tuple[Array, Array]:
    """Draw the noise of blocks f32[B, trials, numbers] and the order of tokens f32[B, N]."""
    if trials < 1:
        raise MaskError(f"trials {trials}: at least one block must be tried")

    def draw(key: Array) -> tuple[Array, Array]:
        for_blocks, for_order = jax.random.split(key)
        order = jax.random.uniform(for_order, (math.prod(grid),), jnp.float32)
        return jax.random.uniform(for_blocks, (trials, numbers), jnp.float32), order

    return jax.vmap(draw)(randomness.each("mask"))


def _longest_sides(grid: Sequence[int]) -> list[int]:
    """Return the longest sides of blocks that are shorter than the grid; 1 on an axis of 1."""
    return [max(size - 1, 1) for size in grid]


def _sides(uniforms: Array, area: Array, grid: Sequence[int], aspect: tuple[float, float]) -> Array:
    """Return rounded sides i32[B, axes] of blocks, by the official law where an aspect fits."""
    limits = [side + 0.49 for side in _longest_sides(grid)]
    real = rectangles.real_sides(uniforms, area, limits, aspect, within=range_or_nearest)
    return jnp.round(jnp.stack(real, -1)).astype(jnp.int32)


def range_or_nearest(low: Array, high: Array, least: Array, most: Array) -> tuple[Array, Array]:
    """Return a range where some of it fits, else the nearest value that does."""
    fits = (high >= least) & (low <= most)
    nearest = rectangles.narrowed(low, high, least, most)
    return jnp.where(fits, low, nearest[0]), jnp.where(fits, high, nearest[1])


def _add_blocks(
    uniforms: Array,
    grid: Sequence[int],
    count: int | Array,
    propose: Proposal,
    *,
    limits: Sequence[int],
) -> Array:
    """Try one block after the other and hide those that fit: bool[B, *grid]."""

    def attempt(trial: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        hidden, missing = state
        sides, starts = propose(uniforms[:, trial], missing)
        block = rectangles.boxes(sides, starts, grid, count=math.prod(grid))
        new = block & ~hidden
        gain = new.sum(range(1, new.ndim))
        accepted = (gain <= missing) & (sides <= jnp.array([limits])).all(1)
        new &= accepted.reshape(-1, *[1] * len(grid))
        return hidden | new, missing - jnp.where(accepted, gain, 0)

    start = jnp.zeros((len(uniforms), *grid), bool), jnp.broadcast_to(count, len(uniforms))
    return jax.lax.fori_loop(0, uniforms.shape[1], attempt, start)[0]
