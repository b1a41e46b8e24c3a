"""Masks for spectrograms, grid (time, mel): whole time steps, whole mel bands, both, and chunks.

Unstructured masks, AudioMAE's choice for pretraining (0.8 of 64 x 8 tokens), are `uniform.random`.

Source: AudioMAE (arXiv 2207.06405), section 3 and figure 2; random_masking_2d of models_mae.py and
models_vit.py, facebookresearch/AudioMAE; for chunks SpecAugment (arXiv 1904.08779).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.masks.core import MaskError, from_hidden
from maskmim.masks.slices import hide_slices, named_axes, random_slices, slice_counts
from maskmim.types import Array, Context, Mask, Randomness

Grid = tuple[int, ...]
AXES = ("time", "mel")


def time_counts(grid: Grid, *, ratio: float) -> tuple[int, int]:
    """Visible and hidden tokens of `time`: whole time steps."""
    steps, bands = named_axes(grid, AXES)
    visible, hidden = slice_counts(steps, ratio=ratio, kind="time steps")
    return visible * bands, hidden * bands


def time(randomness: Randomness, context: Context, *, ratio: float) -> Mask:
    """Hides whole time steps of a spectrogram, chosen uniformly at random.

    ratio: share of hidden time steps, exact after rounding.
    Raises MaskError unless the grid is (time, mel) and at least one step is hidden, one visible.
    Source: see the module. Difference: AudioMAE keeps `int(T * (1 - ratio))`, which can be one
    step fewer.
    """
    grid = named_axes(context.grid, AXES)
    _, hidden = slice_counts(grid[0], ratio=ratio, kind="time steps")
    chosen = random_slices(randomness.each("mask"), grid[0], hidden)
    return hide_slices(chosen, grid, (0,), hidden=hidden)


time.axes = (2,)
time.counts = time_counts


def frequency_counts(grid: Grid, *, ratio: float) -> tuple[int, int]:
    """Visible and hidden tokens of `frequency`: whole mel bands."""
    steps, bands = named_axes(grid, AXES)
    visible, hidden = slice_counts(bands, ratio=ratio, kind="mel bands")
    return steps * visible, steps * hidden


def frequency(randomness: Randomness, context: Context, *, ratio: float) -> Mask:
    """Hides whole mel bands of a spectrogram, chosen uniformly at random.

    ratio: share of hidden mel bands, exact after rounding; 64 x 8 tokens have 8 bands.
    Raises MaskError unless the grid is (time, mel) and at least one band is hidden, one visible.
    Source and difference: as `time`.
    """
    grid = named_axes(context.grid, AXES)
    _, hidden = slice_counts(grid[1], ratio=ratio, kind="mel bands")
    chosen = random_slices(randomness.each("mask"), grid[1], hidden)
    return hide_slices(chosen, grid, (1,), hidden=hidden)


frequency.axes = (2,)
frequency.counts = frequency_counts


def kept_slices(grid: Grid, *, ratio: float) -> tuple[int, int]:
    """How many time steps and mel bands `time_frequency` and `chunks` keep; what both keep is seen.

    The shorter axis keeps the share sqrt(1 - ratio), rounded; the longer one the number that then
    comes closest to the ratio: 26 steps and 4 bands of 64 x 8 at 0.8, which hides 0.797.
    Raises MaskError unless the grid is (time, mel) and at least one token is hidden, one visible.
    """
    steps, bands = named_axes(grid, AXES)
    shown = (1 - ratio) * steps * bands
    short, long = min(steps, bands), max(steps, bands)
    few = max(1, round(short * max(0.0, 1 - ratio) ** 0.5))
    many = min(round(shown / few), long)
    if not 0 < few * many < steps * bands:
        raise MaskError(
            f"mask ratio {ratio} of {steps} time steps x {bands} mel bands leaves {few * many} "
            "tokens visible: at least one must be hidden and one visible; change mask.ratio, or "
            "use a sampler that hides single tokens"
        )
    return (few, many) if steps <= bands else (many, few)


def product_counts(grid: Grid, *, ratio: float) -> tuple[int, int]:
    """Visible and hidden tokens of `time_frequency` and `chunks`, see `kept_slices`."""
    steps, bands = kept_slices(grid, ratio=ratio)
    visible = steps * bands
    return visible, grid[0] * grid[1] - visible


def time_frequency(randomness: Randomness, context: Context, *, ratio: float) -> Mask:
    """Hides random whole time steps and, independently, random whole mel bands.

    ratio: share of hidden tokens, N - (T - t)(F - f) for t of T steps and f of F bands; t and f are
    static, about equal shares of both axes, as close to the ratio as whole slices come: see
    `kept_slices`.
    Raises MaskError unless the grid is (time, mel) and at least one token is hidden, one visible.
    Source: see the module.
    Difference: the official code takes two shares, rounds kept slices down and has no ratio: 0.6 of
    steps and 0.5 of bands in its ablation of pretraining hide 412 of 512 tokens (25 x 4 kept, here
    26 x 4 for 0.8), 0.2 and 0.2 in fine-tuning 206 (51 x 6, here 55 x 6 for 0.36).
    """
    grid = named_axes(context.grid, AXES)
    steps, bands = kept_slices(grid, ratio=ratio)
    keys = jax.vmap(jax.random.split)(randomness.each("mask"))
    late = random_slices(keys[:, 0], grid[0], grid[0] - steps)
    high = random_slices(keys[:, 1], grid[1], grid[1] - bands)
    return either(late, high, count=product_counts(grid, ratio=ratio)[1])


time_frequency.axes = (2,)
time_frequency.counts = product_counts


def either(steps: Array, bands: Array, *, count: int) -> Mask:
    """The mask that hides chosen time steps and chosen mel bands, `count` tokens together.

    steps: bool[B, T]; bands: bool[B, F].
    """
    hidden = steps[:, :, None] | bands[:, None, :]
    return from_hidden(hidden.reshape(hidden.shape[0], -1), count=count)


def chunks(
    randomness: Randomness,
    context: Context,
    *,
    ratio: float,
    time_chunks: int = 2,
    mel_chunks: int = 2,
) -> Mask:
    """Hides contiguous stretches of time and contiguous ranges of mel bands, as SpecAugment does.

    The hidden steps form exactly `time_chunks` separate chunks, or as many as fit, of random
    lengths at random places, every such arrangement equally likely; the hidden bands likewise.
    Steps at the two ends are hidden less often than those inside.

    ratio: share of hidden tokens, steps and bands as `time_frequency`. time_chunks, mel_chunks: how
    many, at least 1; 2 is the SpecAugment paper's stronger policy.
    Raises MaskError as `time_frequency`, and for fewer than one chunk.
    Source: SpecAugment, section 2.
    Differences: numbers of hidden steps and bands are exact, so that counts are static; there the
    length of each chunk is uniform up to a bound, and chunks may overlap.
    """
    if time_chunks < 1 or mel_chunks < 1:
        raise MaskError(f"chunks ({time_chunks}, {mel_chunks}): at least one on each axis")
    grid = named_axes(context.grid, AXES)
    steps, bands = kept_slices(grid, ratio=ratio)
    keys = jax.vmap(jax.random.split)(randomness.each("mask"))
    late = random_chunks(keys[:, 0], grid[0], grid[0] - steps, time_chunks)
    high = random_chunks(keys[:, 1], grid[1], grid[1] - bands, mel_chunks)
    return either(late, high, count=product_counts(grid, ratio=ratio)[1])


chunks.axes = (2,)
chunks.counts = product_counts


def random_chunks(keys: Array, places: int, hidden: int, count: int) -> Array:
    """`hidden` of `places` in `count` separate chunks, or as many as fit: bool[B, places].

    Each way to do so is equally likely: the hidden places are cut into chunks at random, and the
    chunks are put into different gaps between, before and after the visible places.
    """
    count = min(count, hidden, places - hidden + 1)
    if count == 0:
        return jnp.zeros((keys.shape[0], places), bool)

    def draw(key: Array) -> Array:
        for_cuts, for_gaps = jax.random.split(key)
        cuts = 1 + jax.random.permutation(for_cuts, hidden - 1)[: count - 1]
        gaps = jnp.sort(jax.random.permutation(for_gaps, places - hidden + 1)[:count])
        each = jnp.arange(hidden)
        chunk = (each[:, None] >= cuts).sum(1)
        return jnp.zeros((places,), bool).at[each + gaps[chunk]].set(True)

    return jax.vmap(draw)(keys)
