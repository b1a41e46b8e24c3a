"""Histograms of oriented gradients of a clip's cubes as targets, and pictures of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import PositiveInt
from maskmim.reporting.streams import GREY
from maskmim.targets.hog import TargetError, cells_to_patches, hog
from maskmim.targets.hog_pictures import draw_strokes
from maskmim.types import Array, View


def draw_hog_cubes(
    view: View, prediction: Array, *, bins: int = 9, cell: int = 8
) -> dict[str, Array]:
    """Draw the first frame of every cube, its histograms as strokes, and the predicted ones."""
    sides, grid = cube_sides(view), view.context.grid
    frames = view.net.display(view.inputs)[:, :: sides[0]]
    hidden = view.mask.hidden.reshape(-1, *grid)
    hidden = hidden.repeat(sides[1], axis=2).repeat(sides[2], axis=3)[..., None]
    target = hog_of_all_cubes(view, bins=bins, cell=cell)
    rows = jnp.arange(len(target))[:, None]
    predicted = target.at[rows, view.mask.predict].set(prediction)
    shape = frames.shape
    return {
        "clip": frames,
        "what is seen": jnp.where(hidden, jnp.uint8(GREY), frames),
        "HOG": draw_strokes(target, shape, grid, bins=bins, cell=cell),
        "HOG, predicted where hidden": draw_strokes(predicted, shape, grid, bins=bins, cell=cell),
    }


@facts.target(shows=draw_hog_cubes)
def hog_cubes(view: View, *, bins: PositiveInt = 9, cell: PositiveInt = 8) -> Array:
    """Return histograms of oriented gradients of the first frame of each predicted cube.

    bins, cell: see `hog.hog`.
    Returns f32[B, P, V], V = channels * bins * (cells of a cube's frame), in the order of
    `hog.hog_patches`: 108 values for cubes of 2 x 16 x 16 pixels in three channels. The other
    frames of a cube are not used. No gradient passes.
    Raises TargetError unless the tokens are cubes of a clip whose frames are whole cells.
    Source: MaskFeat (arXiv 2112.09133), section 3.2; _get_hog_label_3d of
    slowfast/models/masked.py, facebookresearch/SlowFast.
    """
    all_cubes = hog_of_all_cubes(view, bins=bins, cell=cell)
    return jnp.take_along_axis(all_cubes, view.mask.predict[..., None], axis=1)


def hog_of_all_cubes(view: View, *, bins: PositiveInt, cell: PositiveInt) -> Array:
    """Return the values of `hog_cubes` for all tokens: f32[B, N, V]."""
    clips, grid = view.inputs, view.context.grid
    if clips.ndim != 5 or len(grid) != 3:
        raise TargetError(
            f"inputs of shape {clips.shape} on the token grid {grid} are not clips: HOG targets "
            "of cubes need f32[B, T, H, W, C] and a grid of (frames, rows, columns)"
        )
    sides = cube_sides(view)
    if sides[1] % cell or sides[2] % cell:
        raise TargetError(
            f"cubes of {sides[1]}x{sides[2]} pixels do not divide into cells of {cell}x{cell}: "
            "change the target's cell or the model's patches"
        )
    frames = jax.lax.stop_gradient(clips)[:, :: sides[0]]
    frames = frames.reshape(-1, *frames.shape[2:])
    values = cells_to_patches(hog(frames, bins=bins, cell=cell), grid[1:])
    return values.reshape(len(clips), -1, values.shape[-1])


def cube_sides(view: View) -> tuple[int, ...]:
    """Return the frames, rows and columns of a cube."""
    size = view.inputs.shape[1:4]
    return tuple(n // count for n, count in zip(size, view.context.grid, strict=True))
