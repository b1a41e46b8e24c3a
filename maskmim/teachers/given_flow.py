"""The flow of clips that the data know, as a hint for samplers that follow motion."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.teachers.token_flow import FlowError, flow_teacher, token_middles, token_sides
from maskmim.types import Array, Context, Teacher


def given_flow(*, field: str = "flow") -> Teacher:
    """Return a teacher that turns the flow of pixels, an array of the batch, into that of tokens.

    field: its name, f32[B, T, H, W, 2] displacements (right, down) in pixels from each frame to the
           next, such as that of `data.sprites.sprites`.
    Gives 'flow' f32[B, t, h, w, 2], displacements (down, right) in tokens from each time step to
    the next, which `masks.warped.tube` reads: the way of the pixel in the middle of a token through
    the frames of its time step, each rounded to whole pixels; a middle that lies between pixels is
    the one below and to the right. Outside of the frame it goes on as at the border.
    Raises FlowError where the batch lacks the field, and where tokens do not divide its frames.
    """

    def find_flow(context: Context) -> Array:
        flow = _flow_of(context, field)
        steps, *grid = context.grid
        frames, *size = flow.shape[1:4]
        sides = token_sides(context.grid, flow.shape[1:4])
        middles = token_middles(context.grid, sides)[None, None]
        start = jnp.broadcast_to(middles, (flow.shape[0], steps, *grid, 2))
        by_step = flow.reshape(flow.shape[0], steps, frames // steps, *flow.shape[2:])
        examples, times = jnp.ogrid[: flow.shape[0], :steps]
        at = examples[..., None, None], times[..., None, None]
        places = start
        for frame in range(frames // steps):
            rows, columns = (
                jnp.clip(places[..., axis], 0, side - 1) for axis, side in enumerate(size)
            )
            moved = by_step[:, :, frame][(*at, rows, columns)][..., ::-1]
            places = places + jnp.round(moved).astype(jnp.int32)
        unit = jnp.asarray(sides, jnp.float32).reshape(1, 1, 1, 1, 2)
        return (places - start).astype(jnp.float32) / unit

    return flow_teacher(find_flow)


def _flow_of(context: Context, field: str) -> Array:
    """Return the flow of a batch; raise FlowError where it does not fit the grid of tokens."""
    if field not in context.batch:
        raise FlowError(
            f"the batch lacks the flow {field!r}: declare input.fields.{field} with the shape "
            "frames, height, width, 2, and use a source that has it"
        )
    flow, grid = context.batch[field], context.grid
    fits = flow.ndim == 5 and flow.shape[-1] == 2 and len(grid) == 3
    if not fits or any(side % count for side, count in zip(flow.shape[1:4], grid, strict=True)):
        raise FlowError(
            f"{field!r} of shape {tuple(flow.shape[1:])} is no flow of clips with the token grid "
            f"{tuple(grid)}: its frames, rows and columns must be multiples of these"
        )
    return flow
