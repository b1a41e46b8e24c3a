"""Masks of cubes of a clip, drawn on a coarser grid than that of the tokens."""

from __future__ import annotations

import dataclasses
import math

from maskmim.config import facts
from maskmim.config.ranges import FractionRange, OpenFraction, PositiveInt, PositiveRange
from maskmim.masks import blocks
from maskmim.masks.core import MaskError, from_hidden, split_counts
from maskmim.masks.units import to_units, unit_grid, unit_shape
from maskmim.types import Context, Mask, Randomness

Unit = tuple[PositiveInt, PositiveInt, PositiveInt]


def cube_counts(
    grid: tuple[int, ...], *, ratio: OpenFraction, unit: Unit = (1, 2, 2), **others: object
) -> tuple[int, int]:
    """Return the numbers of visible and hidden tokens, both in whole units."""
    visible, hidden = split_counts(math.prod(_unit_grid(grid, unit)), ratio)
    return visible * math.prod(unit), hidden * math.prod(unit)


@facts.sampler(axes=(3,), counts=cube_counts)
def cubes(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    unit: Unit = (1, 2, 2),
    area: FractionRange = (0.2, 1.0),
    aspect: PositiveRange = (0.3, 1 / 0.3),
    trials: PositiveInt = 128,
) -> Mask:
    """Hide cubes of a clip made of units of several tokens each.

    ratio: share of hidden units, exact after rounding. unit: tokens of a unit along each axis.
    area, aspect, trials: see `blocks.cubes`, which draws on the grid of units.
    Raises MaskError as `blocks.cubes` does, and where units do not fill the grid.
    Source: MaskFeat (arXiv 2112.09133) draws on 8 x 7 x 7 whatever the network's grid is
    (AUG.MASK_WINDOW_SIZE, and _get_multiscale_mask of slowfast/models/masked.py,
    facebookresearch/SlowFast): 157 of 392 units, which are 628 of 1568 tokens on 8 x 14 x 14.
    """
    coarse = _unit_grid(context.grid, unit)
    stream = next(iter(context.grids))
    on_units = dataclasses.replace(context, grids={stream: coarse})
    mask = blocks.cubes(randomness, on_units, ratio=ratio, area=area, aspect=aspect, trials=trials)
    hidden = to_units(mask.hidden, context.grid, unit)
    return from_hidden(hidden, count=mask.predict.shape[1] * math.prod(unit))


def _unit_grid(grid: tuple[int, ...], unit: Unit) -> tuple[int, ...]:
    if len(grid) == 3 and any(size % side for size, side in zip(grid, unit, strict=True)):
        raise MaskError(f"units of {tuple(unit)} tokens do not fill the grid {grid}")
    return unit_grid(grid, unit_shape(grid, unit))
