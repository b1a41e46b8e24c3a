"""Dual masks of VideoMAE V2: a tube for the encoder, running cells for the decoder."""

from __future__ import annotations

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import OneOf, OpenFraction
from maskmim.masks.core import MaskError, positions
from maskmim.masks.slices import named_axes
from maskmim.masks.video import AXES, tube, tube_counts
from maskmim.types import Array, Context, Mask, Randomness

CELL = 4  # Places of a cell of 2 x 2, which is also the period in time steps.
DecodedShare = Annotated[float, OneOf((0.25, 0.5, 0.75))]


def dual_counts(
    grid: tuple[int, ...], *, ratio: OpenFraction, decoded: DecodedShare = 0.5
) -> tuple[int, int]:
    """Return the numbers of visible and predicted tokens of `dual`; some tokens are both."""
    steps, rows, columns = named_axes(grid, AXES)
    places = places_decoded(decoded)
    if rows % 2 or columns % 2:
        raise MaskError(
            f"frames of {rows} x {columns} tokens do not divide into cells of 2 x 2: use an image "
            "size with even numbers of rows and columns, or video.tube"
        )
    return tube_counts(grid, ratio=ratio)[0], steps * rows * columns // CELL * places


@facts.sampler(axes=(3,), counts=dual_counts)
def dual(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    decoded: DecodedShare = 0.5,
) -> Mask:
    """Hide as `video.tube` does and predict a share of all tokens in running cells.

    `predict` holds the decoded tokens. As in the released code some of them are visible: the
    decoder gets a mask token for these too. The weight is 0 for visible tokens and 1 for hidden
    ones, so that the loss is a weighted mean over a number of tokens that differs between examples.

    ratio: share of places hidden from the encoder, as `video.tube`; 0.9 is published.
    decoded: share of tokens that are decoded, a quarter, a half or three quarters. Every example
    starts at one of four phases at random.
    Raises MaskError unless the grid is (time, rows, columns) with even rows and columns.
    Source: VideoMAE V2 (arXiv 2303.16727), section 3.2; RunningCellMaskingGenerator of
    dataset/masking_generator.py and engine_for_pretraining.py, OpenGVLab/VideoMAEv2.
    """
    grid = context.grid
    _, count = dual_counts(grid, ratio=ratio, decoded=decoded)
    mask = tube(randomness, context, ratio=ratio)
    keys = randomness.each("running_cell")
    phases = jax.vmap(lambda key: jax.random.randint(key, (), 0, CELL, jnp.int32))(keys)
    predict = positions(decoded_tokens(phases, grid, decoded=decoded), count)
    weight = jnp.take_along_axis(mask.hidden, predict, axis=1).astype(jnp.float32)
    return mask._replace(predict=predict, weight=weight)


def decoded_tokens(phases: Array, grid: tuple[int, ...], *, decoded: float) -> Array:
    """Mark the tokens that running cells decode: i32[B] phases from 0 to 3 -> bool[B, N].

    The four places of each cell take turns in raster order; each time step advances the turn by
    one.
    """
    step, row, column = np.indices(grid).reshape(3, -1)
    turn = row % 2 * 2 + column % 2 + step + 1
    return (turn[None] + phases[:, None]) % CELL >= CELL - places_decoded(decoded)


def places_decoded(decoded: float) -> int:
    """Return how many of a cell's four places are decoded at a time; MaskError unless 1 to 3."""
    places = round(CELL * decoded)
    if places not in (1, 2, 3) or abs(CELL * decoded - places) > 1e-6:
        raise MaskError(f"decoded {decoded}: choose 0.25, 0.5 or 0.75 of a cell of 2 x 2")
    return places
