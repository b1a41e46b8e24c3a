"""Masks for spectrograms, grid (time, mel): whole time steps, whole mel bands, both, and chunks.

Unstructured masks, AudioMAE's choice for pretraining (0.8 of 64 x 8 tokens), are `uniform.random`.

Source: AudioMAE (arXiv 2207.06405), section 3 and figure 2; random_masking_2d of models_mae.py and
models_vit.py, facebookresearch/AudioMAE; for chunks SpecAugment (arXiv 1904.08779).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import OpenFraction, PositiveInt
from maskmim.masks.core import MaskError, check_finite, from_hidden
from maskmim.masks.slices import hide_slices, named_axes, random_slices, slice_counts
from maskmim.types import Array, Context, Mask, Randomness

Grid = tuple[int, ...]
AXES = ("time", "mel")


def time_counts(grid: Grid, *, ratio: OpenFraction) -> tuple[int, int]:
    """Return the numbers of visible and hidden tokens of `time`, in whole time steps."""
    steps, bands = named_axes(grid, AXES)
    visible, hidden = slice_counts(steps, ratio=ratio, kind="time steps")
    return visible * bands, hidden * bands


@facts.sampler(axes=(2,), counts=time_counts)
def time(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide whole time steps of a spectrogram, chosen uniformly at random.

    ratio: share of hidden time steps, exact after rounding.
    Raises MaskError unless the grid is (time, mel) and at least one step is hidden, one visible.
    Source: see the module.
    Differences: AudioMAE keeps `int(T * (1 - ratio))` steps, which can be one fewer.
    """
    grid = named_axes(context.grid, AXES)
    _, hidden = slice_counts(grid[0], ratio=ratio, kind="time steps")
    chosen = random_slices(randomness.each("mask"), grid[0], hidden)
    return hide_slices(chosen, grid, (0,), hidden=hidden)


def frequency_counts(grid: Grid, *, ratio: OpenFraction) -> tuple[int, int]:
    """Return the numbers of visible and hidden tokens of `frequency`, in whole mel bands."""
    steps, bands = named_axes(grid, AXES)
    visible, hidden = slice_counts(bands, ratio=ratio, kind="mel bands")
    return steps * visible, steps * hidden


@facts.sampler(axes=(2,), counts=frequency_counts)
def frequency(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide whole mel bands of a spectrogram, chosen uniformly at random.

    ratio: share of hidden mel bands, exact after rounding; 64 x 8 tokens have 8 bands.
    Raises MaskError unless the grid is (time, mel) and at least one band is hidden, one visible.
    Source and differences: as `time`.
    """
    grid = named_axes(context.grid, AXES)
    _, hidden = slice_counts(grid[1], ratio=ratio, kind="mel bands")
    chosen = random_slices(randomness.each("mask"), grid[1], hidden)
    return hide_slices(chosen, grid, (1,), hidden=hidden)


def kept_slices(grid: Grid, *, ratio: OpenFraction) -> tuple[int, int]:
    """Return the numbers of time steps and mel bands that `time_frequency` and `chunks` keep.

    Tokens in a kept step and a kept band are visible. The shorter axis keeps the share
    sqrt(1 - ratio), rounded; the longer one the number that then comes closest to the ratio: 26
    steps and 4 bands of 64 x 8 at 0.8, which hides 0.797.
    Raises MaskError unless the grid is (time, mel) and at least one token is hidden, one visible.
    """
    check_finite(ratio)
    steps, bands = named_axes(grid, AXES)
    shown = (1 - ratio) * steps * bands
    short, long = min(steps, bands), max(steps, bands)
    few = max(1, round(short * max(0.0, 1 - ratio) ** 0.5))
    many = min(round(shown / few), long)
    if not 0 < few * many < steps * bands:
        raise MaskError(
            f"mask ratio {ratio} of {steps} time steps x {bands} mel bands leaves {few * many} "
            "tokens visible: at least one must be hidden and one visible; change the ratio, or "
            "use a sampler that hides single tokens"
        )
    return (few, many) if steps <= bands else (many, few)


def product_counts(grid: Grid, *, ratio: OpenFraction, **others: object) -> tuple[int, int]:
    """Return the numbers of visible and hidden tokens of `time_frequency` and `chunks`."""
    steps, bands = kept_slices(grid, ratio=ratio)
    visible = steps * bands
    return visible, grid[0] * grid[1] - visible


@facts.sampler(axes=(2,), counts=product_counts)
def time_frequency(randomness: Randomness, context: Context, *, ratio: OpenFraction) -> Mask:
    """Hide random whole time steps and, independently, random whole mel bands.

    ratio: share of hidden tokens. t of T steps and f of F bands are hidden, which hides
    N - (T - t)(F - f) tokens; t and f are static, about equal shares of both axes, as close to the
    ratio as whole slices come: see `kept_slices`.
    Raises MaskError unless the grid is (time, mel) and at least one token is hidden, one visible.
    Source: see the module.
    Differences: the official code takes two shares, rounds kept slices down and has no ratio: 0.6
    of steps and 0.5 of bands in its ablation of pretraining hide 412 of 512 tokens (25 x 4 kept,
    here 26 x 4 for 0.8), 0.2 and 0.2 in fine-tuning 206 (51 x 6, here 55 x 6 for 0.36).
    """
    grid = named_axes(context.grid, AXES)
    steps, bands = kept_slices(grid, ratio=ratio)
    keys = jax.vmap(jax.random.split)(randomness.each("mask"))
    hidden_steps = random_slices(keys[:, 0], grid[0], grid[0] - steps)
    hidden_bands = random_slices(keys[:, 1], grid[1], grid[1] - bands)
    return hide_steps_and_bands(
        hidden_steps, hidden_bands, count=product_counts(grid, ratio=ratio)[1]
    )


def hide_steps_and_bands(steps: Array, bands: Array, *, count: int) -> Mask:
    """Hide the chosen time steps and the chosen mel bands, `count` tokens together.

    steps: bool[B, T]; bands: bool[B, F].
    """
    hidden = steps[:, :, None] | bands[:, None, :]
    return from_hidden(hidden.reshape(hidden.shape[0], -1), count=count)


@facts.sampler(axes=(2,), counts=product_counts)
def chunks(
    randomness: Randomness,
    context: Context,
    *,
    ratio: OpenFraction,
    time_chunks: PositiveInt = 2,
    mel_chunks: PositiveInt = 2,
) -> Mask:
    """Hide contiguous chunks of time steps and of mel bands, as SpecAugment does.

    The hidden steps form exactly `time_chunks` separate chunks, or as many as fit, of random
    lengths at random places, every such arrangement equally likely; the hidden bands likewise.
    Steps at the two ends are hidden less often than those inside.

    ratio: share of hidden tokens, steps and bands as `time_frequency`. time_chunks, mel_chunks:
    numbers of chunks, at least 1; 2 is the stronger policy of the SpecAugment paper.
    Raises MaskError as `time_frequency`, and for fewer than one chunk.
    Source: SpecAugment, section 2.
    Differences: numbers of hidden steps and bands are exact, so that counts are static; in the
    paper the length of each chunk is uniform up to a bound, and chunks may overlap.
    """
    if time_chunks < 1 or mel_chunks < 1:
        raise MaskError(f"chunks ({time_chunks}, {mel_chunks}): at least one on each axis")
    grid = named_axes(context.grid, AXES)
    steps, bands = kept_slices(grid, ratio=ratio)
    keys = jax.vmap(jax.random.split)(randomness.each("mask"))
    hidden_steps = random_chunks(keys[:, 0], grid[0], grid[0] - steps, time_chunks)
    hidden_bands = random_chunks(keys[:, 1], grid[1], grid[1] - bands, mel_chunks)
    return hide_steps_and_bands(
        hidden_steps, hidden_bands, count=product_counts(grid, ratio=ratio)[1]
    )


def random_chunks(keys: Array, places: int, hidden: int, count: int) -> Array:
    """Hide `hidden` of `places` in `count` separate chunks, or as many as fit: bool[B, places].

    Each arrangement is equally likely: the hidden places are cut into chunks at random, and the
    chunks are put into different gaps between, before and after the visible places.
    """
    count = min(count, hidden, places - hidden + 1)
    if count == 0:
        return jnp.zeros((keys.shape[0], places), bool)

    def draw(key: Array) -> Array:
        for_cuts, for_gaps = jax.random.split(key)
        cuts = 1 + jax.random.permutation(for_cuts, hidden - 1)[: count - 1]
        gaps = jnp.sort(jax.random.permutation(for_gaps, places - hidden + 1)[:count])
        index = jnp.arange(hidden)
        chunk = (index[:, None] >= cuts[None]).sum(1)
        return jnp.zeros((places,), bool).at[index + gaps[chunk]].set(True)

    return jax.vmap(draw)(keys)
