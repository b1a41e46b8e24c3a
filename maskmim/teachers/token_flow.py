"""What teachers of flow share: the teacher, grey frames of clips, and the middles of tokens."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from maskmim.errors import UserError
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree, stateless


class FlowError(UserError, ValueError):
    """A batch in which no flow is known or found that fits the tokens of its clips."""


def flow_teacher(find_flow: Callable[[Context], Array]) -> Teacher:
    """Return a teacher that finds the hint 'flow' before the mask is drawn, and keeps nothing.

    find_flow: context -> f32[B, t, h, w, 2], displacements (down, right) in tokens from each time
               step to the next, which `masks.warped.tube` and `masks.motion.block` read.
    """

    def find(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        return {"flow": find_flow(context)}

    return stateless(("flow",), False, find)


def grey_frames(context: Context) -> Array:
    """Return the mean of the channels of the only stream, of u8 from 0 to 1: f32[B, T, H, W].

    Raises FlowError unless it has frames, rows and columns that the tokens of its grid divide.
    """
    (stream,) = context.grids
    clip, grid = context.batch[stream], context.grid
    sizes = clip.shape[1:4]
    whole = clip.ndim == 5 and len(grid) == 3
    if not whole or any(side % count for side, count in zip(sizes, grid, strict=True)):
        raise FlowError(
            f"{stream!r} of shape {tuple(clip.shape[1:])} with the token grid {tuple(grid)}: flow "
            "is found in clips whose frames, rows and columns are multiples of the grid's"
        )
    scale = 255.0 if clip.dtype == jnp.uint8 else 1.0
    return clip.astype(jnp.float32).mean(-1) / scale


def token_sides(grid: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    """Return the pixels of a token along rows and columns; grid and size have the time first."""
    return tuple(side // count for side, count in zip(size[1:], grid[1:], strict=True))


def token_middles(grid: tuple[int, ...], sides: tuple[int, ...]) -> Array:
    """Return the middle pixel (row, column) of each token: i32[h, w, 2].

    A middle that lies between pixels is the one below and to the right.
    """
    places = jnp.stack(jnp.indices(tuple(grid[1:]), jnp.int32), -1)
    unit = jnp.asarray(sides, jnp.int32).reshape(1, 1, 2)
    return places * unit + unit // 2
