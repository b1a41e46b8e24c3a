"""Clips in which one textured square moves over a still background, with known flow."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.types import Context, Mask, Randomness
from tests.running import ROOT

GRID = (8, 14, 14)
OFFICIAL = np.load(ROOT / "tests/golden/masks/video_official.npz")


class Square(NamedTuple):
    """The path of a square.

    corners: f64[B, T, 2] its first row and column at each time step, in tokens.
    inside:  bool[B, T, h, w] tokens whose centre it covers.
    flow:    f32[B, T, h, w, 2] in tokens, 0 outside of the square.
    """

    corners: np.ndarray
    inside: np.ndarray
    flow: np.ndarray


def official_bits(name: str) -> np.ndarray:
    """Return a recorded mask, bool[..., N]."""
    return np.unpackbits(OFFICIAL[name], axis=-1).astype(bool)


def square(starts: np.ndarray, ends: np.ndarray, side: float) -> Square:
    """Move a square of `side` tokens on a straight path: f64[B, 2] first and last corners."""
    steps, *size = GRID
    velocity = (ends - starts) / (steps - 1)
    corners = starts[:, None] + velocity[:, None] * np.arange(steps)[:, None]
    places = np.stack(np.indices(size), -1) + 0.5
    offset = places - corners[:, :, None, None]
    inside = ((offset >= 0) & (offset < side)).all(-1)
    flow = inside[..., None] * velocity[:, None, None, None]
    return Square(corners, inside, flow.astype(np.float32))


def random_square(count: int, side: float, seed: int = 0) -> Square:
    """Move squares on random paths within the grid, at least 2 tokens long."""
    random = np.random.RandomState(seed)
    ends = random.uniform(0, GRID[1] - side, (20 * count, 2, 2))
    ends = ends[np.linalg.norm(ends[:, 1] - ends[:, 0], axis=-1) > 2][:count]
    return square(ends[:, 0], ends[:, 1], side)


def pixels(moving: Square, side: float, patch: int = 4, seed: int = 0) -> np.ndarray:
    """Return the frames of one square, two for each time step: f32[B, frames, H, W, 1].

    The texture of the square moves with it by whole pixels, once in each time step.
    """
    random = np.random.RandomState(seed)
    steps, rows, columns = GRID
    wide = round(side * patch)
    frames = []
    for path in np.round(moving.corners * patch).astype(int):
        still, texture = random.rand(rows * patch, columns * patch), random.rand(wide, wide)
        for row, column in path:
            frame = still.copy()
            frame[row : row + wide, column : column + wide] = texture
            frames += [frame, frame]
    shape = (len(moving.corners), 2 * steps, rows * patch, columns * patch, 1)
    return np.array(frames, np.float32).reshape(shape)


@functools.partial(jax.jit, static_argnames=("sampler", "grid", "options"))
def _draw(key, hints, slots, sampler, grid, options):
    context = Context({}, {"tokens": grid}, hints)
    return sampler(Randomness(key, slots), context, **dict(options))


def draw(sampler, grid=GRID, *, count: int, hints=None, seed: int = 0, **options) -> Mask:
    """Draw `count` masks of a sampler under jit, as numpy arrays."""
    hints = {name: jnp.asarray(value) for name, value in (hints or {}).items()}
    slots = jnp.arange(count, dtype=jnp.uint32)
    keywords = tuple(options.items())
    mask = _draw(jax.random.key(seed), hints, slots, sampler, grid, keywords)
    return jax.tree.map(np.asarray, mask)
