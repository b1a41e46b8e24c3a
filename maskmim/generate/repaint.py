"""Repainting a part of a picture: which tokens become unknown, and the blended seam."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.errors import UserError
from maskmim.types import Array


class BoxError(UserError, ValueError):
    """A box that lies outside the picture."""


def tokens_in_box(
    box: tuple[int, int, int, int],
    *,
    size: tuple[int, int],
    grid: tuple[int, int],
    margin: int = 1,
) -> np.ndarray:
    """Return the tokens that a box in a picture touches, plus a margin: bool[N], row-major.

    box:    (top, left, height, width) in pixels.
    size:   (H, W) of the picture; grid: (rows, columns) of its tokens.
    margin: rows and columns added on each side, clipped to the picture, since the codes beside the
            box also depend on its pixels.
    Raises BoxError for an empty box and for one that leaves the picture.
    Source: inference.py, google-research/maskgit, with a margin of 1. Differences: the official
    code divides top and height separately and so can miss the last row that a box touches; it clips
    boxes that leave the picture at the bottom or right, which are an error here.
    """
    top, left, height, width = box
    inside = top >= 0 and left >= 0 and top + height <= size[0] and left + width <= size[1]
    if height < 1 or width < 1 or not inside:
        raise BoxError(
            f"the box (top, left, height, width) = {box} does not lie in a picture of "
            f"{size[0]}x{size[1]} pixels: choose one of at least 1x1 pixels inside it"
        )
    cell = size[0] / grid[0], size[1] / grid[1]
    touched = np.zeros(grid, bool)
    rows = _touched_cells(top, height, cell[0], margin)
    columns = _touched_cells(left, width, cell[1], margin)
    touched[rows, columns] = True
    return touched.reshape(-1)


def _touched_cells(begin: int, length: int, cell: float, margin: int) -> slice:
    first = int(begin // cell) - margin
    last = int(-(-(begin + length) // cell)) + margin
    return slice(max(0, first), last)


def blend_repainted(image: Array, painted: Array, unknown: Array, grid: tuple[int, int]) -> Array:
    """Blend a painted picture into the image where tokens were unknown, with a soft edge.

    image, painted: f32[B, H, W, C]. unknown: bool[B, N] on the grid. Returns f32[B, H, W, C].
    The weight of the painted picture is the token mask, upsampled linearly.
    Difference: inference.py upsamples with PIL's cubic filter and blurs with a Gaussian almost one
    token wide.
    """
    share = unknown.reshape(-1, *grid).astype(jnp.float32)
    share = jax.image.resize(share, (len(share), *image.shape[1:3]), "linear")[..., None]
    return share * painted + (1.0 - share) * image
