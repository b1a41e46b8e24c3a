"""Position tables of MAE's layouts, [1, 1 + N, D]: a row of the class token, then the grid's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from maskmim.interop.difference import Shapes, WeightsError
from maskmim.interop.layout import Arrays
from maskmim.models.layers.posembed import sincos

# The path of the encoder's table in our parameters, if it is learned.
LEARNED = "encoder/positions"
# Implementations compute tables in float64 or float32; a larger difference means another table.
TOLERANCE = 1e-5


class Table(NamedTuple):
    """A position table of another layout: its name, its width and its grid."""

    name: str
    width: int
    grid: tuple[int, int]

    @property
    def fixed(self) -> np.ndarray:
        """Return the sin-cos table f32[1, 1 + N, D], zeros for the class token."""
        grid = sincos(self.width, self.grid)
        return np.concatenate([np.zeros((1, self.width), np.float32), grid])[None]


def take_fixed(arrays: Arrays, table: Table) -> Arrays:
    """Return the arrays without the table, which is not a parameter of ours.

    A file may lack it. Raises WeightsError unless it is the sin-cos table that the model uses.
    """
    rest = dict(arrays)
    theirs = rest.pop(table.name, None)
    if theirs is None:
        return rest
    fixed = table.fixed
    if theirs.shape != fixed.shape:
        raise WeightsError(
            f"{table.name} is {theirs.shape}, but the model's grid {table.grid} and width "
            f"{table.width} make {fixed.shape}: choose the image and patch size of the weights"
        )
    difference = float(np.max(np.abs(theirs - fixed)))
    if not difference <= TOLERANCE:
        raise WeightsError(
            f"{table.name} is not the sin-cos table of the grid {table.grid} (largest difference "
            f"{difference:.2g}): if the encoder's table is learned, use positions='learned'"
        )
    return rest


def take_learned(arrays: Arrays, table: Table, class_token: str) -> Arrays:
    """Return the arrays with the class token's row of the table added to the class token.

    Our prefix tokens have no positions; their model computes the same sum.
    """
    rest = dict(arrays)
    if table.name in rest and class_token in rest and rest[table.name].ndim == 3:
        rows = rest[table.name]
        rest[class_token] = rest[class_token] + rows[:, :1]
        rest[table.name] = rows[:, 1:]
    return rest


def put_learned(arrays: Arrays, table: Table) -> Arrays:
    """Return the arrays with a row of zeros for the class token in front of the table."""
    rows = arrays[table.name]
    first = np.zeros((1, 1, rows.shape[-1]), np.float32)
    return {**arrays, table.name: np.concatenate([first, rows], axis=1)}


def is_learned(shapes: Shapes) -> bool:
    """Return whether the encoder of a model learns its positions."""
    return LEARNED in shapes
