"""Flow of tokens from the frames of a clip alone, by Lucas and Kanade's method on a pyramid."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from maskmim.config.ranges import Positive, PositiveInt
from maskmim.teachers.token_flow import (
    FlowError,
    flow_teacher,
    grey_frames,
    token_middles,
    token_sides,
)
from maskmim.types import Array, Context, Teacher


def lucas_kanade(
    *,
    levels: PositiveInt = 4,
    radius: PositiveInt = 4,
    iterations: PositiveInt = 5,
    damping: Positive = 1e-4,
) -> Teacher:
    """Return a teacher that follows the middle of each token through the frames of a clip.

    levels:     of the pyramid; each halves rows and columns of the one below.
    radius:     of the window around a point, in pixels of every level.
    iterations: of Newton's method on every level.
    damping:    added to the mean squared slopes of a window, of pixels from 0 to 1: a point in a
                window of smaller slopes stays.
    Gives 'flow' f32[B, t, h, w, 2], displacements (down, right) in tokens from each time step to
    the next: each token's middle is followed from the first frame of its time step to the first of
    the next; in the last step as far as there are frames.
    It has no weights. Motion of things that are small on the coarsest level can be lost.
    Raises FlowError for a stream that is no clip, and where the coarsest level is smaller than a
    window.
    Source: Lucas and Kanade (1981), on a pyramid as Bouguet's 'Pyramidal Implementation of the
    Lucas Kanade Feature Tracker' (Intel, 2001). Ours: the values, and the damping in place of a
    rule that drops points. MGMAE finds flow by RAFT-small.
    """
    options = {"radius": radius, "iterations": iterations, "damping": damping}

    def track(before: list[Array], after: list[Array], points: Array) -> Array:
        return follow_points(before, after, points, **options)

    def find_flow(context: Context) -> Array:
        grey = grey_frames(context)
        check_levels(grey.shape[2:], levels, radius)
        layers = pyramid(grey, levels)
        steps, rows, columns = context.grid
        sides = token_sides(context.grid, grey.shape[1:])
        middles = token_middles(context.grid, sides).reshape(1, 1, -1, 2).astype(jnp.float32)
        start = jnp.broadcast_to(middles, (len(grey), steps, rows * columns, 2))
        places, span = start, grey.shape[1] // steps
        for number in range(span):
            after = [layer[:, number + 1 :: span] for layer in layers]
            known = after[0].shape[1]  # The last step ends before the frame after it.
            before = [layer[:, number::span][:, :known] for layer in layers]
            moved = jax.vmap(jax.vmap(track))(before, after, places[:, :known])
            places = places.at[:, :known].set(moved)
        flow = (places - start) / jnp.asarray(sides, jnp.float32).reshape(1, 1, 1, 2)
        return flow.reshape(len(grey), steps, rows, columns, 2)

    return flow_teacher(find_flow)


def check_levels(size: tuple[int, ...], levels: int, radius: int) -> None:
    """Raise FlowError where the coarsest level of frames (rows, columns) is less than a window."""
    least = (2 * radius + 1) * 2 ** (levels - 1)
    if min(size) < least:
        raise FlowError(
            f"frames of {size[0]} x {size[1]} pixels are too small for {levels} levels with "
            f"windows of radius {radius}, which need {least}: lower levels or radius of the teacher"
        )


def pyramid(frames: Array, levels: int) -> list[Array]:
    """Return f32[..., H, W] and its halves, the finest first.

    Each level is blurred by (1, 4, 6, 4, 1) / 16 along columns and rows, with repeated borders, and
    keeps every second pixel: pixel (r, c) of level l lies at (r, c) * 2^l of the frame.
    """
    layers = [frames]
    for _ in range(levels - 1):
        layers.append(_halved(_halved(layers[-1], -1), -2))
    return layers


def _halved(field: Array, axis: int) -> Array:
    """Blur along an axis and keep every second value."""
    axis = axis % field.ndim
    size = field.shape[axis]
    sides = [(2, 2) if place == axis else (0, 0) for place in range(field.ndim)]
    padded = jnp.pad(field, sides, mode="edge")
    parts = [jax.lax.slice_in_dim(padded, at, at + size, 2, axis) for at in range(5)]
    return (parts[0] + parts[4] + 4 * (parts[1] + parts[3]) + 6 * parts[2]) / 16


def follow_points(
    before: list[Array],
    after: list[Array],
    points: Array,
    *,
    radius: int,
    iterations: int,
    damping: float,
) -> Array:
    """Return where points of one picture are in another: f32[n, 2] (row, column) in pixels.

    before, after: the `pyramid` of each, f32[h, w] a level; other arguments as of `lucas_kanade`.
    """
    moved = jnp.zeros_like(points)
    for level in reversed(range(len(before))):
        scale = 2.0**level
        by = _correction(
            before[level],
            after[level],
            points / scale,
            moved / scale,
            radius=radius,
            iterations=iterations,
            damping=damping,
        )
        moved = moved + by * scale
    return points + moved


def _correction(
    first: Array,
    second: Array,
    points: Array,
    guess: Array,
    *,
    radius: int,
    iterations: int,
    damping: float,
) -> Array:
    """Return how far points moved beyond a guess, at most the radius along each axis: f32[n, 2]."""
    around = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    window = jnp.stack(jnp.meshgrid(around, around, indexing="ij"), -1).reshape(1, -1, 2)
    places = points[:, None] + window
    seen = _sample(first, places)
    slopes = jnp.stack([_slope(first, places, axis) for axis in (0, 1)], -1)
    squares = jnp.einsum("nwi,nwj->nij", slopes, slopes) / window.shape[1]
    squares = squares + damping * jnp.eye(2)[None]

    def correct(number: int, by: Array) -> Array:
        missing = seen - _sample(second, places + (guess + by)[:, None])
        pull = (slopes * missing[..., None]).mean(1)
        return jnp.clip(by + solve_pairs(squares, pull), -radius, radius)

    return jax.lax.fori_loop(0, iterations, correct, jnp.zeros_like(points))


def solve_pairs(matrices: Array, values: Array) -> Array:
    """Solve symmetric equations with two unknowns: f32[n, 2, 2], f32[n, 2] -> f32[n, 2]."""
    a, b, d = matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 1]
    first, second = values[:, 0], values[:, 1]
    solved = jnp.stack([d * first - b * second, a * second - b * first], -1)
    return solved / (a * d - b * b)[:, None]


def _sample(picture: Array, places: Array) -> Array:
    """Read a picture between its pixels, outside as at its border: f32[..., 2] -> f32[...]."""
    return map_coordinates(picture, [places[..., 0], places[..., 1]], 1, mode="nearest")


def _slope(picture: Array, places: Array, axis: int) -> Array:
    """Return half the difference of the pixels ahead and behind along an axis."""
    step = jnp.eye(2)[axis].reshape(1, 1, 2)
    return (_sample(picture, places + step) - _sample(picture, places - step)) / 2
