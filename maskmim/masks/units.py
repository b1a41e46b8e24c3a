"""Uniformly random masks of units larger than a token: boxes of tokens, hidden as a whole.

Units are laid from the first token on; those at the far borders are smaller where the box does not
divide the grid.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import OpenFraction, PositiveInt, Sizes
from maskmim.errors import count_of
from maskmim.masks.core import MaskError, check_finite, from_hidden, keep_strongest, split_counts
from maskmim.types import Array, Context, Mask, Randomness

Unit = PositiveInt | Sizes


def unit_shape(grid: tuple[int, ...], unit: Unit) -> tuple[int, ...]:
    """Return the tokens of a unit along each axis: `unit`, at most the length of the axis.

    Raises MaskError unless unit is one number of tokens, or one for each axis, all above 0.
    """
    sides = (unit,) * len(grid) if isinstance(unit, int) else tuple(unit)
    if len(sides) != len(grid) or any(side < 1 for side in sides):
        raise MaskError(
            f"unit {unit} on the token grid {grid}: give one number of tokens above 0, or one for "
            "each axis"
        )
    return tuple(min(side, size) for side, size in zip(sides, grid, strict=True))


def unit_grid(grid: tuple[int, ...], unit: Unit) -> tuple[int, ...]:
    """Return the number of units along each axis, smaller ones at the border included."""
    sides = unit_shape(grid, unit)
    return tuple(-(-size // side) for size, side in zip(grid, sides, strict=True))


def tile_size(grid: tuple[int, ...], unit: Unit) -> int:
    """Return the tokens of each unit where all units are equal, else 1."""
    sides = unit_shape(grid, unit)
    equal = all(size % side == 0 for size, side in zip(grid, sides, strict=True))
    return math.prod(sides) if equal else 1


def to_units(scores: Array, grid: tuple[int, ...], unit: Unit) -> Array:
    """Give every token the score of its unit: [B, U] or [B, *unit_grid] -> [B, N]."""
    return scores.reshape(scores.shape[0], -1)[:, _unit_of_token(grid, unit)]


def unit_counts(grid: tuple[int, ...], *, ratio: OpenFraction, unit: Unit = 2) -> tuple[int, int]:
    """Return the numbers of visible and hidden tokens in whole units, hidden ones rounded up.

    30 of 49 units are hidden for a ratio of 0.6 on 14 x 14 tokens. Where units do not tile the
    grid, the counts are those of `split_counts`. Raises MaskError unless both are positive.
    """
    length, tile = math.prod(grid), tile_size(grid, unit)
    if tile == 1:
        return split_counts(length, ratio)
    units = length // tile
    check_finite(ratio)
    hidden = math.ceil(ratio * units - 1e-9)
    if not 0 < hidden < units:
        raise MaskError(
            f"mask ratio {ratio} of {count_of(units, 'unit')} of {tile} tokens hides {hidden}: at "
            "least one must be hidden and one visible; change the ratio or use a smaller unit"
        )
    return (units - hidden) * tile, hidden * tile


def weakest_units(scores: Array, *, grid: tuple[int, ...], ratio: float, unit: Unit = 2) -> Mask:
    """Hide the units of the smallest scores, as many as `unit_counts` says.

    scores: f32[B, N], see `to_units`; differences within a unit decide where it must be cut.
    """
    visible, hidden = unit_counts(grid, ratio=ratio, unit=unit)
    return from_hidden(~keep_strongest(scores, visible), count=hidden)


def units_from_order(order: Array, *, grid: tuple[int, ...], ratio: float, unit: Unit = 2) -> Mask:
    """Hide the first units of given orders; nothing is random.

    order: i32[B, U] permutations of the units, numbered along the unit grid's rows.
    Source: MaskGenerator of data/data_simmim.py, microsoft/SimMIM.
    """
    places = jnp.argsort(order, axis=-1).astype(jnp.float32)
    return weakest_units(to_units(places, grid, unit), grid=grid, ratio=ratio, unit=unit)


@facts.sampler(counts=unit_counts)
def random(
    randomness: Randomness, context: Context, *, ratio: OpenFraction, unit: Unit = 2
) -> Mask:
    """Hide a uniformly random subset of units larger than a token.

    ratio: share of hidden units. Where units tile the grid, `ceil(ratio * units)` are hidden (see
    `unit_counts`); where the border has smaller units, the number of tokens is exact after rounding
    and one unit is cut.
    unit: tokens of a unit along each axis, one number for all; a shorter axis is one unit long.
    2 is SimMIM's (32 pixels at patch 16, ratio 0.6), 4 Pixio's (ratio 0.75).
    Works on grids of any number of axes. Raises MaskError unless a unit is hidden and one visible.

    Source: SimMIM (arXiv 2111.09886), MaskGenerator of data/data_simmim.py; Pixio,
    random_masking of pretraining/models_pixio.py, which keeps `int((1 - ratio) * units)`.
    Differences: floating point does not round up a ratio that is a whole number of units (0.07 of
    100 units is 7, numpy's ceil says 8). Both sources need grids that units tile; on other grids
    tokens of smaller units are hidden a little more often below a ratio of 0.5 and a little less
    often above it (by 0.01 for a unit of 2 on 7 x 11). A unit of 1 is `uniform.random`.
    """
    scores = random_scores(randomness, context, unit=unit)
    return weakest_units(scores, grid=context.grid, ratio=ratio, unit=unit)


def random_scores(randomness: Randomness, context: Context, *, unit: Unit = 2) -> Array:
    """Draw the scores that `random` ranks: f32[B, N], a random order of units and their tokens.

    The whole part is the place of the unit, the rest, below 1, that of the token. unit: see
    `random`.
    """
    grid = context.grid
    units, length = math.prod(unit_grid(grid, unit)), math.prod(grid)

    def draw(key: Array) -> tuple[Array, Array]:
        for_units, for_tokens = jax.random.split(key)
        places = jax.random.permutation(for_units, units)
        return places.astype(jnp.float32), jax.random.uniform(
            for_tokens, (length,), jnp.float32
        ) / 2

    places, inside = jax.vmap(draw)(randomness.each("mask"))
    return to_units(places, grid, unit) + inside


def _unit_of_token(grid: tuple[int, ...], unit: Unit) -> np.ndarray:
    """Return the number of each token's unit along the rows of the unit grid: i64[N]."""
    sides = np.array(unit_shape(grid, unit))[:, None]
    places = np.indices(grid).reshape(len(grid), -1) // sides
    return np.ravel_multi_index(tuple(places), unit_grid(grid, unit))
