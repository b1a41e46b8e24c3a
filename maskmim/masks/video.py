"""Masks for clips, grid (time steps, rows, columns): tubes, whole frames, the future.

A time step is a tubelet, two frames for most models. `uniform.random` serves clips too: it ignores
time ("agnostic" masks).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import OpenFraction, PositiveInt
from maskmim.masks.core import MaskError, from_hidden, keep_strongest, split_counts
from maskmim.masks.slices import hide_slices, named_axes, random_slices, slice_counts
from maskmim.types import Array, Context, Mask, Randomness

Grid = tuple[int, ...]
AXES = ("time", "rows", "columns")


def tube_counts(grid: Grid, *, ratio: OpenFraction) -> tuple[int, int]:
    """Return the numbers of visible and hidden tokens of `tube`, equal in every time step."""
    steps, rows, columns = named_axes(grid, AXES)
    visible, hidden = slice_counts(rows * columns, ratio=ratio, kind="places of a frame")
    return steps * visible, steps * hidden


@facts.sampler(axes=(3,), counts=tube_counts)
def tube(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide the same uniformly random places in every time step of a clip.

    ratio: share of hidden places, exact after rounding: 176 of 14 x 14 for VideoMAE's 0.9.
    Raises MaskError unless the grid is (time, rows, columns).
    Source: VideoMAE (arXiv 2203.12602), section 3.2, and TubeMaskingGenerator of
    masking_generator.py, MCG-NJU/VideoMAE, which hides `int(ratio * places)`, for some ratios one
    fewer.
    """
    grid = named_axes(context.grid, AXES)
    places = grid[1] * grid[2]
    _, hidden = slice_counts(places, ratio=ratio, kind="places of a frame")
    chosen = random_slices(randomness.each("mask"), places, hidden)
    return hide_slices(chosen, grid, (1, 2), hidden=hidden)


def frame_counts(grid: Grid, *, ratio: OpenFraction) -> tuple[int, int]:
    """Return the numbers of visible and hidden tokens of `frame` and `causal_frame`."""
    steps, rows, columns = named_axes(grid, AXES)
    visible, hidden = slice_counts(steps, ratio=ratio, kind="time steps")
    return visible * rows * columns, hidden * rows * columns


@facts.sampler(axes=(3,), counts=frame_counts)
def frame(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide whole time steps of a clip, chosen uniformly at random.

    ratio: share of hidden time steps, exact after rounding: 7 of 8 for 0.9.
    Raises MaskError unless the grid is (time, rows, columns) and at least one step is hidden, one
    visible.
    Source: the "frame" ablation of VideoMAE (arXiv 2203.12602), section 3.2, table 1, at 0.875.
    """
    grid = named_axes(context.grid, AXES)
    _, hidden = slice_counts(grid[0], ratio=ratio, kind="time steps")
    chosen = random_slices(randomness.each("mask"), grid[0], hidden)
    return hide_slices(chosen, grid, (0,), hidden=hidden)


@facts.sampler(axes=(3,), counts=frame_counts)
def causal_frame(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide all but the first time steps of a clip; nothing is random.

    ratio: share of hidden time steps, exact after rounding. Every example gets the same mask.
    Raises MaskError as `frame`.
    """
    grid = named_axes(context.grid, AXES)
    visible, hidden = slice_counts(grid[0], ratio=ratio, kind="time steps")
    chosen = jnp.broadcast_to(jnp.arange(grid[0]) >= visible, (len(randomness.slots), grid[0]))
    return hide_slices(chosen, grid, (0,), hidden=hidden)


def future_counts(
    grid: Grid, *, ratio: OpenFraction, context_steps: PositiveInt = 1
) -> tuple[int, int]:
    """Return the numbers of visible and hidden tokens of `future_tokens`."""
    steps, rows, columns = named_axes(grid, AXES)
    if not 0 < context_steps < steps:
        raise MaskError(
            f"context_steps {context_steps} of {steps} time steps: at least one step must be "
            "context and one future; change it or the number of frames"
        )
    future = (steps - context_steps) * rows * columns
    _, hidden = split_counts(future, ratio)
    return math.prod(grid) - hidden, hidden


@facts.sampler(axes=(3,), counts=future_counts)
def future_tokens(
    randomness: Randomness, context: Context, *, ratio: OpenFraction, context_steps: PositiveInt = 1
) -> Mask:
    """Hide a uniformly random subset of the tokens after the first time steps.

    ratio: share of hidden tokens among those after the context, exact after rounding.
    context_steps: time steps at the start that are never hidden.
    Raises MaskError unless the grid is (time, rows, columns) with context and future.
    Source: MaskViT (arXiv 2206.11894), section 3.2; no official training code.
    Differences: the published share is drawn from 0.5 to 1 at each step; counts are static here.
    `varied` with `future_tokens_scores` draws it, as a share of all tokens.
    """
    visible, hidden = future_counts(context.grid, ratio=ratio, context_steps=context_steps)
    scores = future_tokens_scores(randomness, context, context_steps=context_steps)
    return from_hidden(~keep_strongest(scores, visible), count=hidden)


def future_tokens_scores(
    randomness: Randomness, context: Context, *, context_steps: PositiveInt = 1
) -> Array:
    """Draw the scores that `future_tokens` ranks: f32[B, N], noise below 1, 1 for the context."""
    steps, rows, columns = named_axes(context.grid, AXES)
    length, context_length = steps * rows * columns, context_steps * rows * columns
    keys = randomness.each("mask")
    noise = jax.vmap(lambda key: jax.random.uniform(key, (length,), jnp.float32))(keys)
    return jnp.where(jnp.arange(length) < context_length, 1.0, noise)
