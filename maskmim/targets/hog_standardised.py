"""Histograms of oriented gradients by central differences, each standardised, as targets."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config.ranges import Positive, PositiveInt
from maskmim.models.net import array_of
from maskmim.targets.hog import cells_to_patches, check_cells, orientations, sum_votes
from maskmim.types import Array, View


def standardised_hog_patches(
    view: View, *, bins: PositiveInt = 9, cell: PositiveInt = 8, epsilon: Positive = 1e-5
) -> Array:
    """Return standardised histograms of oriented gradients of the predicted patches.

    They are of the batch's own values, from 0 to 255 where these are bytes, not of the normalised
    input, so that `epsilon` has the same weight for every normalisation.
    bins, cell, epsilon: see `standardised_hog`.
    Returns f32[B, P, V], as `hog.hog_patches` does: by channel, bin, row and column of the cell.
    Nothing is drawn, as the strokes of `hog_glyphs` stand for other angles.
    Raises TargetError as `hog.hog_patches` does.
    Source: DMJD (arXiv 2301.00230): util/hog_tensor.py, util/instance_whitening.py and
    engine_pretrain.py, mx-mark/DMJD. Difference: the official order of values is row, column, bin,
    channel.
    """
    check_cells(view, cell)
    (stream, *_) = view.net.grids
    images = array_of(view.context.batch, stream)
    cells = standardised_hog(images, bins=bins, cell=cell, epsilon=epsilon)
    all_patches = cells_to_patches(cells, view.context.grid)
    return jnp.take_along_axis(all_patches, view.mask.predict[..., None], axis=1)


def standardised_hog(
    images: Array, *, bins: int = 9, cell: int = 8, epsilon: float = 1e-5
) -> Array:
    """Return the mean gradient of each orientation in square cells, standardised over them.

    images:  [B, H, W, C] of whole cells.
    bins:    orientations over half a turn; bin b has the gradients at an angle in
             [b, b + 1) * pi / bins from the rightward direction, counted downwards.
    cell:    side of a cell in pixels.
    epsilon: is added to the variance.
    Returns f32[B, H / cell, W / cell, C, bins], each histogram with mean 0 and variance 1, or 0
    where the cell has no gradient. A gradient is the difference of the two neighbours, which at the
    rim is 0 across it.
    """
    images = images.astype(jnp.float32)
    down = jnp.pad(images[:, 2:] - images[:, :-2], ((0, 0), (1, 1), (0, 0), (0, 0)))
    across = jnp.pad(images[:, :, 2:] - images[:, :, :-2], ((0, 0), (0, 0), (1, 1), (0, 0)))
    magnitudes = jnp.sqrt(across**2 + down**2)
    means = sum_votes(magnitudes, orientations(down, across, bins), bins, cell) / cell**2
    centred = means - jnp.mean(means, axis=-1, keepdims=True)
    variance = jnp.mean(centred**2, axis=-1, keepdims=True)
    return centred / jnp.sqrt(variance + epsilon)
