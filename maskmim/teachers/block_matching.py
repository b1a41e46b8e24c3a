"""Flow of tokens from the frames of a clip alone, by matching blocks as video codecs do."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.config.ranges import NonNegative, PositiveInt
from maskmim.teachers.token_flow import flow_teacher, grey_frames, token_sides
from maskmim.types import Array, Context, Teacher


def block_matching(
    *, reach: PositiveInt = 24, stride: PositiveInt = 2, price: NonNegative = 1e-4
) -> Teacher:
    """Return a teacher that finds each token of a time step in the next one.

    reach:  the largest displacement along each axis, in pixels.
    stride: between the displacements that are tried, in pixels.
    price:  added to the error for each pixel of displacement, so that what can stay stays.
    Gives 'flow' f32[B, t, h, w, 2], displacements (down, right) in tokens from each time step to
    the next, 0 in the last: those of the smallest mean absolute difference between the token in the
    first frame of its time step and what the first frame of the next shows there, of pixels from 0
    to 1; outside of the frame as at its border. Of equals the shortest.
    It has no weights. Costs ((2 reach / stride) + 1)^2 differences of each pixel.
    Raises FlowError for a stream that is no clip.
    Source: the full search of block-based codecs, in place of the motion vectors of H.264 that MGM
    (arXiv 2308.12962) reads from the file. Ours: all values. Codecs look for blocks of a frame in
    the frame before, so that their vectors point backwards, and have blocks of several sizes and
    quarter pixels.
    """

    def find_flow(context: Context) -> Array:
        grey = grey_frames(context)
        first = grey[:, :: grey.shape[1] // context.grid[0]]
        sides = token_sides(context.grid, grey.shape[1:])
        flow = match_blocks(first[:, :-1], first[:, 1:], sides, reach, stride, price)
        flow = flow / jnp.asarray(sides, jnp.float32).reshape(1, 1, 1, 1, 2)
        return jnp.pad(flow, [(0, 0), (0, 1), *[(0, 0)] * 3])

    return flow_teacher(find_flow)


def displacements(reach: int, stride: int) -> np.ndarray:
    """Return the displacements (down, right) that are tried, the shortest first: i32[n, 2]."""
    line = np.arange(0, reach + 1, stride)
    line = np.concatenate([-line[:0:-1], line])
    every = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    return every[np.argsort((every**2).sum(1), kind="stable")].astype(np.int32)


def match_blocks(
    before: Array, after: Array, sides: tuple[int, ...], reach: int, stride: int, price: float
) -> Array:
    """Return the best displacement of each block: f32[..., H, W] twice -> f32[..., h, w, 2].

    sides: rows and columns of a block. Displacements are in pixels; arguments as `block_matching`.
    """
    *lead, height, width = before.shape
    tried = displacements(reach, stride)
    prices = price * np.sqrt((tried.astype(np.float64) ** 2).sum(1))
    edges = [(0, 0)] * len(lead) + [(reach, reach)] * 2
    padded = jnp.pad(after, edges, mode="edge")
    blocks = (*lead, height // sides[0], sides[0], width // sides[1], sides[1])

    def attempt(best: tuple[Array, Array], one: tuple[Array, Array]) -> tuple:
        (least, found), (by, cost) = best, one
        shown = jax.lax.dynamic_slice_in_dim(padded, by[0] + reach, height, -2)
        shown = jax.lax.dynamic_slice_in_dim(shown, by[1] + reach, width, -1)
        error = jnp.abs(before - shown).reshape(blocks).mean((-3, -1)) + cost
        better = error < least
        found = jnp.where(better[..., None], by.reshape(*(1,) * (len(lead) + 2), 2), found)
        return (jnp.where(better, error, least), found), None

    shape = (*lead, height // sides[0], width // sides[1])
    begin = jnp.full(shape, jnp.inf, jnp.float32), jnp.zeros((*shape, 2), jnp.int32)
    (_, found), _ = jax.lax.scan(
        attempt, begin, (jnp.asarray(tried), jnp.asarray(prices, jnp.float32))
    )
    return found.astype(jnp.float32)
