"""Histograms of oriented gradients (HOG) of the predicted patches as targets."""

from __future__ import annotations

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import Finite, Limits, PositiveInt
from maskmim.errors import UserError
from maskmim.reporting.streams import GREY
from maskmim.targets.codes import repeat_to_pixels
from maskmim.targets.hog_pictures import draw_strokes
from maskmim.types import Array, View

# Below this length a histogram is divided by it, so that a cell without gradients stays 0.
EPSILON = 1e-12

# Side of a square of pixels under a Gaussian; of one pixel the deviation would be 0.
Window = Annotated[int, Limits(2, 4096)]


class TargetError(UserError, ValueError):
    """A target that cannot be computed from the input."""


def draw_hog_patches(
    view: View, prediction: Array, *, bins: int = 9, cell: int = 8, **others: Any
) -> dict[str, Array]:
    """Draw the picture, its visible part, its histograms as strokes, and the predicted ones.

    A cell that covers several patches is drawn in each of them.
    """
    grid, picture = view.context.grid, view.net.display(view.inputs)
    target = cells_to_patches(hog(view.inputs, bins=bins, cell=cell, **others), grid)
    rows = jnp.arange(len(target))[:, None]
    predicted = target.at[rows, view.mask.predict].set(prediction)
    shape = picture.shape[0], 1, *picture.shape[1:]
    drawn_cell = min(cell, picture.shape[1] // grid[0])

    def strokes_of(values: Array) -> Array:
        return draw_strokes(values, shape, (1, *grid), bins=bins, cell=drawn_cell)[:, 0]

    hidden = repeat_to_pixels(view.mask.hidden[..., None], grid, picture.shape[1:3])
    return {
        "picture": picture,
        "what is seen": jnp.where(hidden, jnp.uint8(GREY), picture),
        "HOG": strokes_of(target),
        "HOG, predicted where hidden": strokes_of(predicted),
    }


@facts.target(shows=draw_hog_patches)
def hog_patches(
    view: View,
    *,
    bins: PositiveInt = 9,
    cell: PositiveInt = 8,
    window: Window | None = None,
    shift: tuple[Finite, Finite] = (0.0, 0.0),
) -> Array:
    """Return histograms of oriented gradients of the predicted patches of the normalised input.

    bins, cell, window, shift: see `hog`. A cell is a part of a patch, or consists of whole patches,
    which then all have its histogram.
    Returns f32[B, P, V], V = channels * bins * (cells of a patch), by channel, bin, row of the cell
    and column of the cell: 108 values for patches of 16 x 16 pixels in three channels. The head
    that predicts them has V values. No gradient passes.
    Raises TargetError unless the tokens are patches of a picture, and patches consist of whole
    cells or cells of whole square patches.
    Source: MaskFeat (arXiv 2112.09133), section 3.2; _get_hog_label_2d of
    slowfast/models/masked.py, facebookresearch/SlowFast.
    """
    check_cells(view, cell)
    images = jax.lax.stop_gradient(view.inputs)
    cells = hog(images, bins=bins, cell=cell, window=window, shift=shift)
    all_patches = cells_to_patches(cells, view.context.grid)
    return jnp.take_along_axis(all_patches, view.mask.predict[..., None], axis=1)


def check_cells(view: View, cell: int) -> None:
    """Raise TargetError unless the tokens are patches of a picture that fit to the cells."""
    images, grid = view.inputs, view.context.grid
    if images.ndim != 4 or len(grid) != 2:
        raise TargetError(
            f"inputs of shape {images.shape} on the token grid {grid} are not pictures: HOG "
            "targets need f32[B, H, W, C] and a grid of (rows, columns)"
        )
    patch = images.shape[1] // grid[0], images.shape[2] // grid[1]
    if (patch[0] % cell or patch[1] % cell) and not (patch[0] == patch[1] and not cell % patch[0]):
        raise TargetError(
            f"patches of {patch[0]}x{patch[1]} pixels do not divide into cells of {cell}x{cell}: "
            "change the target's cell or model.patch"
        )


def hog(
    images: Array,
    *,
    bins: int = 9,
    cell: int = 8,
    window: int | None = None,
    shift: tuple[float, float] = (0.0, 0.0),
) -> Array:
    """Return histograms of the unsigned orientations of gradients in square cells.

    images: f32[B, H, W, C].
    bins:   orientations over half a turn.
    cell:   side of a cell in pixels.
    window: side in pixels of the squares whose gradients are weighted by a Gaussian about the
            centre of the square, see `gaussian_windows`; None for equal weights.
    shift:  is added to the two differences of `sobel` in units of the inputs, so that flat parts
            have a gradient, too.
    Returns f32[B, H / cell, W / cell, C, bins], each histogram of length 1, or 0 where the cell has
    no gradient. Each channel has its own histograms. Bin b sums the magnitudes of the gradients at
    an angle in [b, b + 1) * pi / bins from the downward direction, counted towards the right: b = 0
    is vertical, b = bins / 2 horizontal.
    Raises TargetError unless the image consists of whole cells and of whole windows.
    Source: HOGLayerC of slowfast/models/operators.py, facebookresearch/SlowFast, with pool 8 and no
    Gaussian window, as MaskFeat uses it. FG-MAE (models_mae_2.py of zhu-xlab/FGMAE) has windows of
    16, LocalMIM (HOGLayer of ViT/models_mim.py, Haoqing-Wang/LocalMIM) for ViT-L a random shift.
    Differences: see `sobel` and `orientations`. Where gradients of whole-numbered pixels lie on the
    border of two bins, the rounding of the normalisation chooses between them, in both codes: on 32
    photographs of 224 x 224 pixels 2.9 % of the values differ from the official ones by over 0.01
    (mean square 8.2e-5; the variance of the values is 0.063). Nearly as many official values differ
    between the same pictures at 1 and 3 times the contrast (2.8 %, 7.3e-5). Without normalisation
    no value differs by more than 2e-7.
    """
    height, width = images.shape[1:3]
    _check_squares(height, width, cell, "cell")
    across, down = sobel(images.astype(jnp.float32))
    across, down = across + shift[0], down + shift[1]
    magnitudes = jnp.sqrt(across**2 + down**2)
    if window is not None:
        _check_squares(height, width, window, "window")
        magnitudes = magnitudes * gaussian_windows(height, width, window)[None, :, :, None]
    sums = sum_votes(magnitudes, orientations(across, down, bins), bins, cell)
    return sums / jnp.maximum(jnp.linalg.norm(sums, axis=-1, keepdims=True), EPSILON)


def sum_votes(magnitudes: Array, numbers: Array, bins: int, cell: int) -> Array:
    """Return the sum of the magnitudes of each bin in each cell: f32[B, h, w, C, bins].

    magnitudes: f32[B, H, W, C]; numbers: i32[B, H, W, C], the bin of each.
    """
    examples, height, width, channels = magnitudes.shape
    in_bin = numbers[..., None] == jnp.arange(bins).reshape(*[1] * magnitudes.ndim, bins)
    votes = jnp.where(in_bin, magnitudes[..., None], 0.0)
    split = votes.reshape(examples, height // cell, cell, width // cell, cell, channels, bins)
    return jnp.sum(split, axis=(2, 4))


def _check_squares(height: int, width: int, side: int, name: str) -> None:
    """Raise TargetError unless the image consists of whole squares."""
    if height % side or width % side:
        raise TargetError(
            f"images of {height}x{width} pixels do not divide into {name}s of {side}x{side}: "
            f"change the target's {name} or input.size"
        )


def gaussian_windows(height: int, width: int, side: int) -> np.ndarray:
    """Return the weights of gradients f32[height, width]: a Gaussian kernel in each square.

    The kernel has its peak in the centre of a square of side x side pixels, a standard deviation of
    side // 2 and the sum 1. Source: get_gkern of HOGLayerC, slowfast/models/operators.py.
    """
    line = np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (side // 2)) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    return np.tile(kernel, (height // side, width // side)).astype(np.float32)


def sobel(images: Array) -> tuple[Array, Array]:
    """Return the differences left - right and above - below of the 3 x 3 Sobel filter.

    f32[B, H, W, C] -> twice f32[B, H, W, C]; images are mirrored at the rim.
    Differences: subtracts sums of three pixels, where the official code has a convolution, which
    accelerators compute in a lower precision by default. The result is exactly 0 where rows or
    columns are equal; the rounding of a convolution may leave about 1e-7, which in a flat cell
    becomes a histogram of noise of length 1.
    """
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    columns = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    rows = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    return columns[:, :, :-2] - columns[:, :, 2:], rows[:, :-2] - rows[:, 2:]


def orientations(across: Array, down: Array, bins: int) -> Array:
    """Return the bin of each gradient, i32 in [0, bins); gradients that differ in sign share it.

    Differences: computes floor(bins * atan2(across, down) / pi) modulo bins of the official code by
    comparing with the borders of the bins. Where a difference is exactly 0, as along the mirrored
    rim, atan2 hits a border, and its rounding, which depends on the compiler, would choose the bin.
    """
    negative = (across < 0) | ((across == 0) & (down < 0))
    sign = jnp.where(negative, -1.0, 1.0)[..., None]
    borders = np.arange(1, bins).reshape(*[1] * across.ndim, -1) * np.pi / bins
    beyond = sign * across[..., None] * np.cos(borders) >= sign * down[..., None] * np.sin(borders)
    return jnp.sum(beyond, axis=-1, dtype=jnp.int32)


def cells_to_patches(cells: Array, grid: tuple[int, int]) -> Array:
    """Return the histograms of cells as values of patches, in the order of `hog_patches`.

    f32[B, rows * r, columns * c, C, bins] on a grid of (rows, columns) patches ->
    f32[B, N, C * bins * r * c]. A cell that covers several patches is repeated for each of them.
    """
    rows, columns = grid
    cells = cells.repeat(max(1, rows // cells.shape[1]), axis=1)
    cells = cells.repeat(max(1, columns // cells.shape[2]), axis=2)
    examples, height, width, channels, bins = cells.shape
    split = cells.reshape(
        examples, rows, height // rows, columns, width // columns, channels, bins
    ).transpose(0, 1, 3, 5, 6, 2, 4)
    return split.reshape(examples, rows * columns, -1)
