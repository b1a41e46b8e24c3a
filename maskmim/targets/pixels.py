"""Pixels of the predicted patches as targets, and predictions turned back into pixels."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import Positive
from maskmim.models.net import array_of
from maskmim.reporting.streams import GREY
from maskmim.targets.codes import repeat_to_pixels
from maskmim.types import Array, View

# MAE adds this to the variance of a patch (models_mae.py, forward_loss).
EPSILON = 1e-6


def plain_prediction(view: View, prediction: Array) -> Array:
    """Return a prediction of `patches` itself: it is in units of the inputs."""
    return prediction.astype(jnp.float32)


def denormalise(view: View, prediction: Array) -> Array:
    """Return a prediction of `normalised_patches` with the true mean and deviation of each patch.

    The result is in units of the inputs.
    """
    mean, deviation = patch_statistics(patches(view))
    return prediction.astype(jnp.float32) * deviation + mean


@facts.target(pixels=plain_prediction)
def patches(view: View) -> Array:
    """Return the input values of the predicted patches.

    Returns f32[B, P, V], values in row, column, channel order.
    """
    all_patches = view.net.patchify(view.inputs).astype(jnp.float32)
    return jnp.take_along_axis(all_patches, view.mask.predict[..., None], axis=1)


def draw_patches_of(view: View, prediction: Array, *, array: str) -> dict[str, Array]:
    """Draw the input, what is seen of it, the input with predicted patches, and the array."""
    net, grid, inputs = view.net, view.context.grid, view.inputs
    picture, patches = net.display(inputs), net.patchify(inputs)
    rows = jnp.arange(len(patches))[:, None]
    predicted = patches.at[rows, view.mask.predict].set(prediction.astype(patches.dtype))
    hidden = repeat_to_pixels(view.mask.hidden[..., None], grid, picture.shape[1:3])
    return {
        "input": picture,
        "what is seen": jnp.where(hidden, jnp.uint8(GREY), picture),
        "prediction": net.display(net.restore(predicted)),
        array: net.display(_inputs_of(view, array)),
    }


@facts.target(shows=draw_patches_of)
def patches_of(view: View, *, array: str) -> Array:
    """Return the values of the predicted patches of another picture of each example.

    array: name of the picture in the batch, of the shape of the input, such as 'sharp' of
    `data.blurred_crop.blurred_crop`; it is normalised as the input is.
    Returns f32[B, P, V], values in row, column, channel order.
    Raises ModelError for a batch without this array.
    """
    all_patches = view.net.patchify(_inputs_of(view, array)).astype(jnp.float32)
    return jnp.take_along_axis(all_patches, view.mask.predict[..., None], axis=1)


def _inputs_of(view: View, array: str) -> Array:
    """Return a picture of the batch as the network would get it: f32[B, H, W, C]."""
    (stream,) = view.context.grids
    return view.net.inputs({stream: array_of(view.context.batch, array)})


@facts.target(pixels=denormalise)
def normalised_patches(view: View, *, epsilon: Positive = EPSILON) -> Array:
    """Return the input values of the predicted patches, each patch with mean 0 and variance 1.

    Returns f32[B, P, V] = (x - mean) / sqrt(variance + epsilon), statistics over all V values of a
    patch, variance unbiased (divided by V - 1).
    Source: MAE (arXiv 2111.06377), section 3, and forward_loss of models_mae.py.
    """
    values = patches(view)
    mean, deviation = patch_statistics(values, epsilon=epsilon)
    return (values - mean) / deviation


def patch_statistics(values: Array, *, epsilon: float = EPSILON) -> tuple[Array, Array]:
    """Return the mean and deviation f32[B, P, 1] of each patch.

    The deviation is sqrt(variance + epsilon), variance unbiased.
    """
    mean = jnp.mean(values, axis=-1, keepdims=True)
    variance = jnp.var(values, axis=-1, keepdims=True, ddof=1)
    return mean, jnp.sqrt(variance + epsilon)
