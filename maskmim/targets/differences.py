"""Normalised differences of channels, such as vegetation and water indices, as targets."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import NonNegativeInt, Positive
from maskmim.reporting.streams import GREY
from maskmim.targets.codes import repeat_to_pixels
from maskmim.targets.hog import TargetError
from maskmim.types import Array, View

Pairs = tuple[tuple[NonNegativeInt, NonNegativeInt], ...]
# Of the 13 bands of Sentinel-2 in their order (B1 to B8, B8A, B9 to B12), counted from 0.
VEGETATION, WATER, BUILT_UP = (7, 3), (2, 7), (11, 7)


def draw_differences(
    view: View, prediction: Array, *, pairs: Pairs, epsilon: float
) -> dict[str, Array]:
    """Draw the picture, its visible part, the differences from -1 to 1, and the predicted ones."""
    net, grid, picture = view.net, view.context.grid, view.net.display(view.inputs)
    target = _all_patches(view, pairs, epsilon)
    rows = jnp.arange(len(target))[:, None]
    predicted = target.at[rows, view.mask.predict].set(prediction)
    hidden = repeat_to_pixels(view.mask.hidden[..., None], grid, picture.shape[1:3])

    def shown(patches: Array) -> Array:
        levels = jnp.round((net.restore(patches) + 1) * 127.5)
        return jnp.clip(levels, 0, 255).astype(jnp.uint8)

    return {
        "picture": picture,
        "what is seen": jnp.where(hidden, jnp.uint8(GREY), picture),
        "differences": shown(target),
        "differences, predicted where hidden": shown(predicted),
    }


@facts.target(shows=draw_differences)
def normalised_differences(
    view: View, *, pairs: Pairs = (VEGETATION, WATER, BUILT_UP), epsilon: Positive = 1e-5
) -> Array:
    """Return (a - b) / (a + b + epsilon) for pairs of channels at each pixel of predicted patches.

    pairs:   channels (a, b), counted from 0. The default is NDVI, NDWI and NDBI of Sentinel-2.
    epsilon: keeps dark pixels finite.
    Inputs must not be negative (input.mean of 0), or sums near 0 make values without limits.
    Returns f32[B, P, V], V = pixels of a patch * pairs, by row, column and pair, without gradient.
    Raises TargetError for a channel that the input lacks.
    Source: FG-MAE (arXiv 2310.18653), forward of models_mae_2.py, zhu-xlab/FGMAE.
    """
    all_patches = _all_patches(view, pairs, epsilon)
    return jnp.take_along_axis(all_patches, view.mask.predict[..., None], axis=1)


def _all_patches(view: View, pairs: Pairs, epsilon: float) -> Array:
    """Return the values of `normalised_differences` for all tokens: f32[B, N, V]."""
    images = jax.lax.stop_gradient(view.inputs).astype(jnp.float32)
    channels = images.shape[-1]
    if highest := max((max(pair) for pair in pairs if max(pair) >= channels), default=0):
        raise TargetError(
            f"normalised differences of the pairs {pairs} need channel {highest}, but the input "
            f"has {channels}, counted from 0: set the target's pairs"
        )
    first, second = (images[..., list(side)] for side in zip(*pairs, strict=True))
    return view.net.patchify((first - second) / (first + second + epsilon))
