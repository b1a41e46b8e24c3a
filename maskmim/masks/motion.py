"""Masks that hide what moves in a clip, grid (time steps, rows, columns)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from maskmim.config import facts
from maskmim.config.ranges import NonNegative, OpenFraction
from maskmim.masks.core import MaskError, from_hidden, from_scores
from maskmim.masks.rectangles import boxes
from maskmim.masks.slices import named_axes, slice_counts
from maskmim.masks.video import AXES, tube_counts
from maskmim.types import Array, Context, Mask, Randomness


def difference_motion(clip: Array, patch: tuple[int, int, int]) -> Array:
    """Return each token's motion by frame differences: f32[B, frames, H, W, C] -> f32[B, N].

    The mean over the pixels and channels of a token of the absolute change since the frame before,
    in units of the clip; the first frame takes the change to the second. A cheap substitute for
    motion vectors; camera motion counts too.
    patch: frames, rows and columns of a token, in pixels.
    Raises MaskError where tokens do not tile the clip, and for fewer than two frames.
    """
    frames, *size = clip.shape[1:4]
    if frames < 2 or any(side % part for side, part in zip((frames, *size), patch, strict=True)):
        raise MaskError(
            f"a clip of {frames} frames of {size[0]} x {size[1]} pixels in tokens of {patch}: it "
            "needs at least two frames and sides that tokens divide"
        )
    change = jnp.abs(jnp.diff(clip, axis=1)).mean(-1)
    change = jnp.concatenate([change[:, :1], change], axis=1)
    deep, high, wide = patch
    cubes = change.reshape(-1, frames // deep, deep, size[0] // high, high, size[1] // wide, wide)
    return cubes.mean((2, 4, 6)).reshape(clip.shape[0], -1)


@facts.scores(needs=("motion",))
def frame_difference_scores(randomness: Randomness, context: Context) -> Array:
    """Rank tokens by stillness: f32[B, N], the stillest N - 1; equals in random order."""
    motion = context.hints["motion"]
    length = motion.shape[-1]
    ranks = jnp.arange(length - 1, -1, -1, dtype=jnp.float32)

    def rank(key: Array, motion: Array) -> Array:
        order = jnp.lexsort((jax.random.uniform(key, (length,), jnp.float32), motion))
        return jnp.zeros((length,), jnp.float32).at[order].set(ranks)

    return jax.vmap(rank)(randomness.each("mask"), motion)


@facts.sampler(needs=("motion",), axes=(3,))
def frame_difference(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide the tokens that move most.

    Tokens of equal motion are hidden at random, so that a still clip gets a random mask.

    ratio: share of hidden tokens, exact after rounding.
    Reads the hint 'motion' f32[B, N], at least 0, such as `difference_motion` gives.
    Raises MaskError unless the grid is (time, rows, columns).
    Source: the idea of MGM (arXiv 2308.12962) in its simplest form, without blocks.
    """
    named_axes(context.grid, AXES)
    return from_scores(frame_difference_scores(randomness, context), ratio=ratio)


def block_counts(
    grid: tuple[int, ...], *, ratio: OpenFraction, least: NonNegative = 0.1
) -> tuple[int, int]:
    """Return the numbers of visible and hidden tokens of `block`, equal in every time step."""
    return tube_counts(grid, ratio=ratio)


@facts.sampler(needs=("flow",), axes=(3,), counts=block_counts)
def block(
    randomness: Randomness, context: Context, *, ratio: OpenFraction, least: NonNegative = 0.1
) -> Mask:
    """Hide one block in each time step that follows the motion of the first.

    The block starts at the hot spot of the first time step (see `hot_spots`) and is carried along
    by the flow at its centre. It stays within the grid, so that near a border its centre lags
    behind, and at 0.75 it has little room to move. Where nothing moves it starts at a random place.

    ratio: share of hidden tokens of each time step, exact after rounding. The block has the
    proportions of the frame; its last row may be short, so that the number is exact.
    least: tokens per time step; slower motion, relative to the frame's median, counts as none.
    Reads the hint 'flow' f32[B, T, h, w, 2], tokens (rows, columns) from each time step to the
    next.
    Raises MaskError unless the grid is (time, rows, columns).
    Source: MGM (arXiv 2308.12962), section 3; no code is published.
    Differences: the paper reads motion vectors of the codec, here any flow serves; the median of
    the first flow is subtracted before the hot spot is located, so that camera motion does not
    count.
    """
    grid = named_axes(context.grid, AXES)
    steps, rows, columns = grid
    _, hidden = slice_counts(rows * columns, ratio=ratio, kind="places of a frame")
    high = min(max(round(rows * ratio**0.5), -(-hidden // columns)), rows)
    sides = jnp.array([high, -(-hidden // high)])
    room = jnp.array([rows, columns]) - sides
    middle = ((sides - 1).astype(jnp.float32) / 2)[None]
    flow = context.hints["flow"]
    keys = randomness.each("mask")
    random_starts = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, room + 1, jnp.int32))(
        keys
    )
    spots, speeds = hot_spots(flow[:, 0])
    moves = speeds[:, None] >= least
    centres = follow_flow(jnp.where(moves, spots, random_starts.astype(jnp.float32) + middle), flow)
    starts = jnp.clip(jnp.round(centres - middle[None]), 0.0, room[None, None].astype(jnp.float32))
    starts = starts.astype(jnp.int32).reshape(-1, 2)
    chosen = boxes(jnp.broadcast_to(sides, starts.shape), starts, (rows, columns), count=hidden)
    return from_hidden(chosen.reshape(flow.shape[0], -1), count=steps * hidden)


def hot_spots(flow: Array) -> tuple[Array, Array]:
    """Locate the peak of motion: f32[B, h, w, 2] -> places f32[B, 2] and largest speed f32[B].

    Motion is the flow less its median, speeds are in tokens per time step. The peak is that of the
    speeds smoothed by a binomial kernel of five tokens, so that it lies inside the moving region;
    the place is the centre of motion of the five by five tokens around it.
    """
    relative = flow - jnp.median(flow, axis=(1, 2), keepdims=True)
    speed = jnp.sqrt((relative**2).sum(-1))
    smooth = _binomial(_binomial(speed, 1), 2)
    peak = jnp.stack(jnp.divmod(smooth.reshape(len(flow), -1).argmax(-1), flow.shape[2]), -1)
    places = jnp.moveaxis(jnp.indices(flow.shape[1:3]), 0, -1)
    near = (jnp.abs(places[None] - peak[:, None, None]) <= 2).all(-1)
    weight = jnp.where(near, speed, 0.0)[..., None]
    total = jnp.maximum(weight.sum((1, 2)), 1e-9)
    return (weight * places[None].astype(jnp.float32)).sum((1, 2)) / total, speed.max((1, 2))


def follow_flow(starts: Array, flow: Array) -> Array:
    """Return the paths of points carried along by the flow: f32[B, 2] -> f32[B, T, 2].

    flow: f32[B, T, h, w, 2], its last time step is not used. Between tokens it is interpolated
    linearly; points stop at the border of the grid.
    """
    last = jnp.array(flow.shape[2:4], jnp.float32) - 1

    def path(start: Array, flow: Array) -> Array:
        def move(place: Array, field: Array) -> tuple[Array, Array]:
            by = [map_coordinates(field[..., axis], place, 1, mode="nearest") for axis in (0, 1)]
            place = jnp.clip(place + jnp.stack(by), 0, last)
            return place, place

        _, rest = jax.lax.scan(move, start, flow[:-1])
        return jnp.concatenate([start[None], rest])

    return jax.vmap(path)(starts, flow)


def _binomial(field: Array, axis: int) -> Array:
    """Smooth along an axis of [B, h, w] by (1, 4, 6, 4, 1) / 16, zeros outside.

    By sums of slices: the rounding of a matrix product may depend on the batch size.
    """
    size = field.shape[axis]
    padded = jnp.pad(field, [(2, 2) if place == axis else (0, 0) for place in range(3)])
    parts = [jax.lax.slice_in_dim(padded, at, at + size, axis=axis) for at in range(5)]
    return (parts[0] + parts[4] + 4 * (parts[1] + parts[3]) + 6 * parts[2]) / 16
