"""Errors of predicted pixels beside those of untrained guesses, and pictures of predictions."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from maskmim.evals.features import Unsuitable
from maskmim.reporting.streams import GREY
from maskmim.types import Array, Batch, Mask, Method, Net, Randomness, Variables

# The error of rounding to 8 bits; it limits PSNR to 58.9 dB.
ROUNDING = 1 / (12 * 255**2)


def reconstruction(
    method: Method,
    variables: Variables,
    batch: Batch,
    randomness: Randomness,
    *,
    place: NamedSharding | None = None,
) -> dict[str, Array]:
    """Return the errors of a reconstruction, those of simple guesses, and pictures.

    f32[] means over the images of the batch, see `reconstruction_errors`: 'reconstruction/mse',
    'reconstruction/psnr', 'reconstruction/mse_nearest_visible', 'reconstruction/mse_mean_visible',
    'reconstruction/mse_own_mean'; pictures u8[B, *size, C], see `paste_predictions`: 'image',
    'masked', 'restored', 'raw'; and 'hidden' bool[B, N].
    place: the sharding of the results, replicated where several processes read them.
    Raises Unsuitable for a method that predicts no pixels.
    """
    if "reconstruct" not in method.apply:
        raise Unsuitable(
            "this method predicts no pixels to reconstruct: remove 'reconstruction' from evals, or "
            "use an objective with pixels"
        )
    run = jax.jit(functools.partial(_reconstruction, method), out_shardings=place)
    return run(variables, batch, randomness)


def _reconstruction(
    method: Method, variables: Variables, batch: Batch, randomness: Randomness
) -> dict[str, Array]:
    outputs = method.apply["reconstruct"](variables, batch, randomness)
    pictures = paste_predictions(method.net, outputs)
    errors = reconstruction_errors(method.net, outputs)
    means = {f"reconstruction/{name}": jnp.mean(values) for name, values in errors.items()}
    return means | pictures | {"hidden": outputs["mask"].hidden}


def paste_predictions(net: Net, outputs: Mapping[str, Any]) -> dict[str, Array]:
    """Return pictures u8[B, H, W, C] with the predictions pasted over the hidden patches.

    outputs: of a method's 'reconstruct'.
    'image':    the input.
    'masked':   the input with hidden patches grey.
    'restored': predictions in the units of the input ('pixels'); for targets of normalised patches,
                with the true patch's mean and variance restored.
    'raw':      predictions as the network outputs them, as MAE's demo pastes them.
    Visible patches are always those of the input, even if predicted; hidden patches that were not
    predicted stay grey.
    """
    mask, inputs = outputs["mask"], outputs["inputs"]
    patches = net.patchify(inputs)
    image = net.display(inputs)
    known = ~mask.hidden | _scatter(jnp.ones(mask.predict.shape, bool), mask, mask.hidden.shape)

    def paste(values: Array) -> Array:
        predicted = _scatter(values, mask, patches.shape)
        mixed = jnp.where(mask.hidden[..., None], predicted, patches)
        return _paint_grey(net, net.display(net.restore(mixed)), known, patches)

    return {
        "image": image,
        "masked": _paint_grey(net, image, ~mask.hidden, patches),
        "restored": paste(outputs["pixels"]),
        "raw": paste(outputs["prediction"]),
    }


def reconstruction_errors(net: Net, outputs: Mapping[str, Any]) -> dict[str, Array]:
    """Return the errors f32[B] of each image, over its patches that are hidden and predicted.

    outputs: of a method's 'reconstruct'.
    Errors are mean squared differences of displayed pixels in [0, 1], rounded to 8 bits and clipped
    as a picture is, so that they are comparable across normalisations:

    'mse':                 of 'pixels', which `paste_predictions` shows as 'restored'.
    'psnr':                -10 log10 of 'mse' in dB, at most 58.9 (8 bits).
    'mse_nearest_visible': of a copy of the visible patch with the nearest centre; of several, of
                           their mean.
    'mse_mean_visible':    of the mean colour of the image's visible patches.
    'mse_own_mean':        of the true patch's mean over its values. A normalised target reveals
                           this mean (and the contrast), so this, not the guesses above, is the
                           score of a model that has learnt nothing.
    """
    mask = outputs["mask"]
    patches = net.patchify(outputs["inputs"])
    true = _take_tokens(patches, mask.predict)
    true_mean = jnp.broadcast_to(true.mean(-1, keepdims=True), true.shape)
    image = _displayed(net, patches)
    grid = net.grids[next(iter(net.grids))]
    guesses = {
        "mse": _take_tokens(
            _displayed(net, _replace_predicted(patches, outputs["pixels"], mask)), mask.predict
        ),
        "mse_nearest_visible": nearest_visible(image, mask, grid),
        "mse_mean_visible": mean_visible(image, mask, net.display(outputs["inputs"]).shape[-1]),
        "mse_own_mean": _take_tokens(
            _displayed(net, _replace_predicted(patches, true_mean, mask)), mask.predict
        ),
    }
    target = _take_tokens(image, mask.predict)
    counted = jnp.take_along_axis(mask.hidden, mask.predict, axis=1).astype(jnp.float32)

    def error(guess: Array) -> Array:
        by_patch = jnp.mean((guess - target) ** 2, axis=-1)
        return jnp.sum(by_patch * counted, axis=-1) / jnp.maximum(counted.sum(axis=-1), 1)

    errors = {name: error(guess) for name, guess in guesses.items()}
    psnr = -10 / math.log(10) * jnp.log(jnp.maximum(errors["mse"], ROUNDING))
    return errors | {"psnr": psnr}


def nearest_visible(image: Array, mask: Mask, grid: tuple[int, ...]) -> Array:
    """Return, for each predicted patch, the mean of the nearest visible patches on the grid.

    image: f32[B, N, V]; distances are Euclidean, in patches. Returns f32[B, P, V].
    """
    axes = jnp.meshgrid(*map(jnp.arange, grid), indexing="ij")
    positions = jnp.stack(axes, -1).reshape(-1, len(grid))
    squared = jnp.sum((positions[:, None] - positions[None]) ** 2, -1)
    far = jnp.iinfo(jnp.int32).max
    distance = jnp.where(mask.hidden[:, None], far, squared[mask.predict])
    nearest = distance == distance.min(-1, keepdims=True)
    weight = nearest / nearest.sum(-1, keepdims=True)
    exact = jax.lax.Precision.HIGHEST
    return jnp.einsum("bpn,bnv->bpv", weight, image, precision=exact)


def mean_visible(image: Array, mask: Mask, channels: int) -> Array:
    """Return the mean colour of each image's visible patches: f32[B, N, V] -> f32[B, 1, V]."""
    visible = ~mask.hidden[..., None, None]
    pixels = image.reshape(*image.shape[:2], -1, channels)
    total = jnp.sum(pixels * visible, axis=(1, 2)) / pixels.shape[2]
    mean = total / jnp.maximum(visible.sum(axis=(1, 2)), 1)
    return jnp.tile(mean, image.shape[-1] // channels)[:, None]


def _displayed(net: Net, patches: Array) -> Array:
    """Convert patches in units of the inputs to patches of displayed pixels in [0, 1]."""
    return net.patchify(net.display(net.restore(patches)).astype(jnp.float32) / 255)


def _take_tokens(patches: Array, tokens: Array) -> Array:
    return jnp.take_along_axis(patches, tokens[..., None], axis=1)


def _scatter(values: Array, mask: Mask, shape: tuple[int, ...]) -> Array:
    """Return an array of that shape with the values at the predicted tokens and zeros elsewhere."""
    rows = jnp.arange(shape[0])[:, None]
    return jnp.zeros(shape, values.dtype).at[rows, mask.predict].set(values)


def _replace_predicted(patches: Array, values: Array, mask: Mask) -> Array:
    """Return the patches with the predicted ones replaced by values."""
    rows = jnp.arange(len(patches))[:, None]
    return patches.at[rows, mask.predict].set(values.astype(patches.dtype))


def _paint_grey(net: Net, picture: Array, known: Array, patches: Array) -> Array:
    """Paint the patches of a picture grey where known bool[B, N] is False."""
    veil = net.restore(jnp.where(known[..., None], 0.0, jnp.ones_like(patches)))
    return jnp.where(veil > 0, jnp.uint8(GREY), picture)
