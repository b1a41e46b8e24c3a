"""Histograms of oriented gradients of the predicted patches as targets."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.errors import UserError
from maskmim.reporting.streams import GREY
from maskmim.targets.codes import spread
from maskmim.targets.hog_pictures import drawn
from maskmim.types import Array, View

# Below this length a histogram is divided by it, so that a cell without gradients stays 0.
EPSILON = 1e-12


class TargetError(UserError, ValueError):
    """A target that the input cannot give."""


def hog_patches(view: View, *, bins: int = 9, cell: int = 8) -> Array:
    """Histograms of oriented gradients of the predicted patches, of the normalised input.

    bins, cell: see `hog`.
    Returns f32[B, P, V], V = channels * bins * (cells of a patch), by channel, bin, row of the cell
    and column of the cell: 108 values for patches of 16 x 16 pixels in three channels. The head of
    a model that predicts them has V values. No gradient passes.
    Raises TargetError unless the tokens are patches of a picture that whole cells fill.
    Source: MaskFeat (arXiv 2112.09133), section 3.2; _get_hog_label_2d of
    slowfast/models/masked.py, facebookresearch/SlowFast.
    """
    images, grid = view.inputs, view.context.grid
    if images.ndim != 4 or len(grid) != 2:
        raise TargetError(
            f"inputs of shape {images.shape} on the token grid {grid} are no pictures: HOG targets "
            "need f32[B, H, W, C] and a grid of (rows, columns)"
        )
    patch = images.shape[1] // grid[0], images.shape[2] // grid[1]
    if patch[0] % cell or patch[1] % cell:
        raise TargetError(
            f"patches of {patch[0]}x{patch[1]} pixels do not divide into cells of {cell}x{cell}: "
            "change the target's cell or model.patch"
        )
    every = by_patch(hog(jax.lax.stop_gradient(images), bins=bins, cell=cell), grid)
    return jnp.take_along_axis(every, view.mask.predict[..., None], axis=1)


def shows(view: View, prediction: Array, *, bins: int = 9, cell: int = 8) -> dict[str, Array]:
    """The picture, what is seen of it, its histograms as strokes, and the predicted ones."""
    grid, picture = view.context.grid, view.net.display(view.inputs)
    every = by_patch(hog(view.inputs, bins=bins, cell=cell), grid)
    rows = jnp.arange(len(every))[:, None]
    found = every.at[rows, view.mask.predict].set(prediction)
    shape = picture.shape[0], 1, *picture.shape[1:]

    def strokes_of(values: Array) -> Array:
        return drawn(values, shape, (1, *grid), bins=bins, cell=cell)[:, 0]

    hidden = spread(view.mask.hidden[..., None], grid, picture.shape[1:3])
    return {
        "picture": picture,
        "what is seen": jnp.where(hidden, jnp.uint8(GREY), picture),
        "HOG": strokes_of(every),
        "HOG, predicted where hidden": strokes_of(found),
    }


hog_patches.shows = shows


def hog(images: Array, *, bins: int = 9, cell: int = 8) -> Array:
    """Histograms of the unsigned orientations of gradients in square cells.

    images: f32[B, H, W, C]. bins: orientations over half a turn. cell: pixels; whole cells must
    fill the image.
    Returns f32[B, H / cell, W / cell, C, bins], each histogram of length 1, or 0 where the cell has
    no gradient. Bin b gathers the pixels whose gradient is at an angle in [b, b + 1) * pi / bins
    from the downward direction, counted towards the right (b = 0 is vertical, half of the bins
    later it is horizontal), by their magnitude; each channel by itself.
    Raises TargetError where cells do not fill the image.
    Source: HOGLayerC of slowfast/models/operators.py, facebookresearch/SlowFast, with pool 8 and no
    Gaussian window, as MaskFeat uses it.
    Differences: see `sobel` and `orientations`. Where gradients of whole-numbered pixels lie on
    a border of two bins, the rounding of the normalisation chooses between them, there and here: on
    32 photographs of 224 x 224 pixels 2.9 % of the values differ from the official ones by over
    0.01 (mean square 8.2e-5, the values' variance being 0.063), nearly as many as differ between
    the official values of the same pictures at 1 and 3 times the contrast (2.8 %, 7.3e-5); without
    normalisation none differs by more than 2e-7.
    """
    examples, height, width, channels = images.shape
    if height % cell or width % cell:
        raise TargetError(
            f"images of {height}x{width} pixels do not divide into cells of {cell}x{cell}: change "
            "the target's cell or input.size"
        )
    across, down = sobel(images.astype(jnp.float32))
    magnitudes = jnp.sqrt(across**2 + down**2)
    chosen = orientations(across, down, bins)[..., None] == jnp.arange(bins)
    votes = jnp.where(chosen, magnitudes[..., None], 0.0)
    cut = votes.reshape(examples, height // cell, cell, width // cell, cell, channels, bins)
    sums = jnp.sum(cut, axis=(2, 4))
    return sums / jnp.maximum(jnp.linalg.norm(sums, axis=-1, keepdims=True), EPSILON)


def sobel(images: Array) -> tuple[Array, Array]:
    """Differences left - right and above - below of the 3 x 3 Sobel filter, mirrored at the rim.

    f32[B, H, W, C] -> twice f32[B, H, W, C].
    Differences: differences of sums of three pixels, where the official code has a convolution,
    which accelerators would do in a lower precision unless told otherwise. They are exactly 0 where
    rows or columns are equal; a convolution's rounding may leave about 1e-7 there, which in a flat
    cell becomes a histogram of noise of length 1.
    """
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    columns = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    rows = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    return columns[:, :, :-2] - columns[:, :, 2:], rows[:, :-2] - rows[:, 2:]


def orientations(across: Array, down: Array, bins: int) -> Array:
    """The bin of each gradient, i32 in [0, bins); gradients that differ in sign share it.

    Differences: floor(bins * atan2(across, down) / pi) modulo bins, as the official code has it,
    found by comparing with the borders of the bins. Where a difference is exactly 0, as it is
    along the mirrored rim, atan2 hits a border, and its rounding, which depends on the compiler,
    would choose the bin.
    """
    turned = (across < 0) | ((across == 0) & (down < 0))
    sign = jnp.where(turned, -1.0, 1.0)[..., None]
    borders = np.arange(1, bins) * np.pi / bins
    beyond = sign * across[..., None] * np.cos(borders) >= sign * down[..., None] * np.sin(borders)
    return jnp.sum(beyond, axis=-1, dtype=jnp.int32)


def by_patch(cells: Array, grid: tuple[int, int]) -> Array:
    """Histograms of cells as values of patches, see `hog_patches` for their order.

    f32[B, rows * r, columns * c, C, bins] on a grid of (rows, columns) patches ->
    f32[B, N, C * bins * r * c].
    """
    rows, columns = grid
    examples, height, width, channels, bins = cells.shape
    cut = cells.reshape(
        examples, rows, height // rows, columns, width // columns, channels, bins
    ).transpose(0, 1, 3, 5, 6, 2, 4)
    return cut.reshape(examples, rows * columns, -1)
