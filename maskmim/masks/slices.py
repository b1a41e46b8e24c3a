"""Masks of whole slices: random places on some axes are hidden along the whole of the others.

Tubes, hidden frames, hidden time steps and hidden mel bands share it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from maskmim.masks.core import MaskError, check_finite, from_hidden, keep_strongest, split_counts
from maskmim.masks.units import to_units
from maskmim.types import Array, Mask


def named_axes(grid: Sequence[int], names: Sequence[str]) -> tuple[int, ...]:
    """Return the grid; MaskError unless it has one axis for each name."""
    if len(grid) != len(names):
        raise MaskError(
            f"the token grid {tuple(grid)} has {len(grid)} axes, this mask needs "
            f"({', '.join(names)}): choose a sampler for such data, or uniform.random"
        )
    return tuple(grid)


def slice_counts(places: int, *, ratio: float, kind: str) -> tuple[int, int]:
    """Return the numbers of visible and hidden slices; errors call the slices `kind`."""
    check_finite(ratio)
    try:
        return split_counts(places, ratio)
    except MaskError:
        raise MaskError(
            f"mask ratio {ratio} of {places} {kind} hides {round(ratio * places)}: at least one "
            "must be hidden and one visible; change the ratio, or use a sampler that hides single "
            "tokens"
        ) from None


def random_slices(keys: Array, places: int, hidden: int) -> Array:
    """Draw a uniformly random subset of `hidden` places for each key: bool[B, places]."""
    scores = jax.vmap(lambda key: jax.random.uniform(key, (places,), jnp.float32))(keys)
    return ~keep_strongest(scores, places - hidden)


def hide_slices(chosen: Array, grid: Sequence[int], along: Sequence[int], *, hidden: int) -> Mask:
    """Hide every token of the chosen slices.

    chosen: bool[B, places on the axes `along`], exactly `hidden` true in every row.
    """
    sides = tuple(1 if axis in along else size for axis, size in enumerate(grid))
    places = math.prod(grid[axis] for axis in along)
    return from_hidden(to_units(chosen, grid, sides), count=hidden * (math.prod(grid) // places))
