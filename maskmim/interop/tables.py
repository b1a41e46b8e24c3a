"""Position tables of MAE's layouts, [1, 1 + N, D]: a row of the class token, then the grid's."""

from __future__ import annotations

import logging
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from maskmim.interop.difference import Shapes, WeightsError
from maskmim.interop.layout import Arrays
from maskmim.models.layers.posembed import sincos

logger = logging.getLogger("maskmim")

# The path of the encoder's table in our parameters, if it is learned.
LEARNED = "encoder/positions"
# Implementations compute tables in float64 or float32; a larger difference means another table,
# unless the file's numbers have fewer digits.
TOLERANCE = 1e-5
SHORT = jnp.bfloat16, jnp.float16


class Table(NamedTuple):
    """A position table of another layout: its name, its width and its grid."""

    name: str
    width: int
    grid: tuple[int, int]

    @property
    def positions(self) -> int:
        """Return N, the number of positions of the grid."""
        return math.prod(self.grid)

    @property
    def fixed(self) -> np.ndarray:
        """Return the sin-cos table f32[1, 1 + N, D], zeros for the class token."""
        return fixed_table(self.width, self.grid)[None]


def fixed_table(width: int, grid: tuple[int, int]) -> np.ndarray:
    """Return the sin-cos table f32[1 + N, D] of a grid, zeros for the class token."""
    return np.concatenate([np.zeros((1, width), np.float32), sincos(width, grid)])


def take_fixed(arrays: Arrays, table: Table) -> Arrays:
    """Return the arrays without the table, which is not a parameter of ours.

    A file may lack it. The sin-cos table of another grid is left out too, with a log message: the
    model computes its own. Tables with and without a row of the class token are known, and numbers
    rounded to float16 or bfloat16. Raises WeightsError for any other table.
    """
    rest = dict(arrays)
    theirs = rest.pop(table.name, None)
    if theirs is None:
        return rest
    rows = theirs.reshape(-1, theirs.shape[-1]) if theirs.ndim else theirs
    if rows.ndim != 2 or rows.shape[1] != table.width:
        raise WeightsError(
            f"{table.name} is {theirs.shape}, the model's width is {table.width}: choose the "
            "variant of the weights"
        )
    grid = find_grid(rows, table.grid)
    if grid is None:
        raise _not_fixed(table, rows)
    if grid != table.grid:
        logger.warning(
            "%s holds the sin-cos positions of %d x %d patches; those of %d x %d are computed",
            table.name,
            *grid,
            *table.grid,
        )
    return rest


def _not_fixed(table: Table, rows: np.ndarray) -> WeightsError:
    fixed = table.fixed[0]
    if len(rows) == len(fixed):
        return WeightsError(
            f"{table.name} is not the sin-cos table of the grid {table.grid} (largest difference "
            f"{np.max(np.abs(rows - fixed)):.2g}): if it is learned, use positions='learned'"
        )
    return WeightsError(
        f"{table.name} has {len(rows)} rows that are no sin-cos table, the model's grid "
        f"{table.grid} has {table.positions} positions: {_WAY_OUT}"
    )


_WAY_OUT = (
    "positions that were learned need the image and patch size of the weights and "
    "positions='learned'; for pictures of another size, wrap the loaded network in "
    "maskmim.models.other_size.resize_net"
)


def find_grid(rows: np.ndarray, first: tuple[int, int]) -> tuple[int, int] | None:
    """Return the grid whose sin-cos table f32[1 + N, D] or f32[N, D] the rows are; None for none.

    first: the grid to try first; others follow, square ones before long ones.
    """
    tolerance = max([TOLERANCE, *(float(jnp.finfo(d).eps) for d in SHORT if _is_exact(rows, d))])
    for table, positions in ((rows[1:], len(rows) - 1), (rows, len(rows))):
        without_class = table is rows
        if not without_class and not np.max(np.abs(rows[0])) <= tolerance:
            continue
        for grid in _grids(positions, first):
            if np.max(np.abs(table - sincos(rows.shape[1], grid))) <= tolerance:
                return grid
    return None


def _is_exact(rows: np.ndarray, dtype: np.dtype) -> bool:
    """Return whether every number has a type's few digits, also if it is stored with more."""
    return np.array_equal(rows.astype(dtype).astype(np.float32), rows)


def _grids(positions: int, first: tuple[int, int]) -> list[tuple[int, int]]:
    """Return all grids (rows, columns) of so many positions, the likeliest first."""
    grids = [(n, positions // n) for n in range(1, positions + 1) if positions % n == 0]
    return sorted(grids, key=lambda grid: (grid != first, abs(grid[0] - grid[1])))


def take_learned(arrays: Arrays, table: Table, class_token: str) -> Arrays:
    """Return the arrays with the class token's row of the table added to the class token.

    Our prefix tokens have no positions; their model computes the same sum. A table without such a
    row stays. Raises WeightsError for a table of another number of positions.
    """
    rest = dict(arrays)
    if table.name not in rest or class_token not in rest or rest[table.name].ndim != 3:
        return rest
    rows = rest[table.name]
    if rows.shape[1] == table.positions + 1:
        rest[class_token] = rest[class_token] + rows[:, :1]
        rest[table.name] = rows[:, 1:]
    elif rows.shape[1] != table.positions:
        raise WeightsError(
            f"{table.name} has {rows.shape[1]} rows, the model's grid {table.grid} has "
            f"{table.positions} positions: {_WAY_OUT}"
        )
    return rest


def put_learned(arrays: Arrays, table: Table) -> Arrays:
    """Return the arrays with a row of zeros for the class token in front of the table."""
    rows = arrays[table.name]
    first = np.zeros((1, 1, rows.shape[-1]), np.float32)
    return {**arrays, table.name: np.concatenate([first, rows], axis=1)}


def is_learned(shapes: Shapes) -> bool:
    """Return whether the encoder of a model learns its positions."""
    return LEARNED in shapes
