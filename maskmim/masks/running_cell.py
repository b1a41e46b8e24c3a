"""VideoMAE V2's dual masking: a tube for the encoder, running cells for the decoder."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.masks.core import MaskError, positions
from maskmim.masks.slices import named_axes
from maskmim.masks.video import AXES, tube, tube_counts
from maskmim.types import Array, Context, Mask, Randomness

CELL = 4  # Places of a cell of 2 x 2, which is also the period in time steps.


def dual_counts(grid: tuple[int, ...], *, ratio: float, decoded: float = 0.5) -> tuple[int, int]:
    """Visible and predicted tokens of `dual`; some tokens are both."""
    steps, rows, columns = named_axes(grid, AXES)
    kept = places_decoded(decoded)
    if rows % 2 or columns % 2:
        raise MaskError(
            f"frames of {rows} x {columns} tokens do not divide into cells of 2 x 2: use an image "
            "size with even numbers of rows and columns, or video.tube"
        )
    return tube_counts(grid, ratio=ratio)[0], steps * rows * columns // CELL * kept


def dual(randomness: Randomness, context: Context, *, ratio: float, decoded: float = 0.5) -> Mask:
    """Shows a tube of places to the encoder and decodes a part of all tokens in running cells.

    `predict` holds the decoded tokens, visible ones among them, as released: the decoder gets a
    mask token for these too. Their weight is 0, and 1 for those hidden from the encoder, so the
    loss is a weighted mean over a number of tokens that differs between examples.

    ratio: share of places hidden from the encoder, as `video.tube`; 0.9 is the published one.
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
    phases = jax.vmap(lambda key: jax.random.randint(key, (), 0, CELL))(keys)
    predict = positions(decoded_tokens(phases, grid, decoded=decoded), count)
    weight = jnp.take_along_axis(mask.hidden, predict, axis=1).astype(jnp.float32)
    return mask._replace(predict=predict, weight=weight)


dual.axes = (3,)
dual.counts = dual_counts


def decoded_tokens(phases: Array, grid: tuple[int, ...], *, decoded: float) -> Array:
    """Which tokens running cells decode: i32[B] phases from 0 to 3 -> bool[B, N].

    The four places of each cell take turns in the order of the cell's rows. Each time step moves
    the turn by one.
    """
    step, row, column = np.indices(grid).reshape(3, -1)
    turn = row % 2 * 2 + column % 2 + step + 1
    return (turn + phases[:, None]) % CELL >= CELL - places_decoded(decoded)


def places_decoded(decoded: float) -> int:
    """How many of a cell's four places are decoded at a time; MaskError unless 1, 2 or 3."""
    kept = round(CELL * decoded)
    if kept not in (1, 2, 3) or abs(CELL * decoded - kept) > 1e-6:
        raise MaskError(f"decoded {decoded}: a cell of 2 x 2 decodes 0.25, 0.5 or 0.75 of it")
    return kept
