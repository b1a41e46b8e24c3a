"""Painting a part of a picture anew: which tokens are unknown, and the seam to what is kept."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.errors import UserError
from maskmim.types import Array


class BoxError(UserError, ValueError):
    """A box that lies outside the picture."""


def tokens_in(
    box: tuple[int, int, int, int],
    *,
    size: tuple[int, int],
    grid: tuple[int, int],
    margin: int = 1,
) -> np.ndarray:
    """The tokens that a box in a picture touches, and those around: bool[N], row-major.

    box:    (top, left, height, width) in pixels.
    size:   (H, W) of the picture; grid: (rows, columns) of its tokens.
    margin: so many rows and columns more on each side, as far as the picture goes: codes beside the
            box were made from its pixels too.
    Raises BoxError for an empty box and for one that leaves the picture.
    Source: inference.py, google-research/maskgit, with a margin of 1. Differences: it divides top
    and height apart, and so can miss the last row that a box touches; it cuts at the lower and
    right end only of boxes that lie within the picture, here others are refused.
    """
    top, left, height, width = box
    inside = top >= 0 and left >= 0 and top + height <= size[0] and left + width <= size[1]
    if height < 1 or width < 1 or not inside:
        raise BoxError(
            f"the box (top, left, height, width) = {box} does not lie in a picture of "
            f"{size[0]}x{size[1]} pixels"
        )
    cell = size[0] / grid[0], size[1] / grid[1]
    found = np.zeros(grid, bool)
    rows = _touched(top, height, cell[0], margin)
    columns = _touched(left, width, cell[1], margin)
    found[rows, columns] = True
    return found.reshape(-1)


def _touched(begin: int, length: int, cell: float, margin: int) -> slice:
    first = int(begin // cell) - margin
    last = int(-(-(begin + length) // cell)) + margin
    return slice(max(0, first), last)


def seamless(image: Array, painted: Array, unknown: Array, grid: tuple[int, int]) -> Array:
    """A painted picture where tokens were unknown, over the image, with a soft edge between.

    image, painted: f32[B, H, W, C]. unknown: bool[B, N] on the grid. Returns f32[B, H, W, C].
    The share of the painted picture is the mask of tokens, enlarged with linear interpolation.
    Difference: inference.py enlarges with PIL's cubic filter and blurs by a Gaussian of nearly a
    token's width.
    """
    share = unknown.reshape(-1, *grid).astype(jnp.float32)
    share = jax.image.resize(share, (len(share), *image.shape[1:3]), "linear")[..., None]
    return share * painted + (1.0 - share) * image
