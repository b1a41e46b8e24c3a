"""Pixels of the predicted patches as targets, and predictions turned back into pixels."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.types import Array, View

# MAE adds this to the variance of a patch (models_mae.py, forward_loss).
EPSILON = 1e-6


def patches(view: View) -> Array:
    """Input values of the predicted patches: f32[B, P, V], values in row, column, channel order."""
    every = view.net.patchify(view.inputs).astype(jnp.float32)
    return jnp.take_along_axis(every, view.mask.predict[..., None], axis=1)


def normalised_patches(view: View, *, epsilon: float = EPSILON) -> Array:
    """Input values of the predicted patches, each patch with its mean 0 and its variance 1.

    Returns f32[B, P, V] = (x - mean) / sqrt(variance + epsilon), statistics over all V values of a
    patch, variance unbiased (divided by V - 1).
    Source: MAE (arXiv 2111.06377), section 3, and forward_loss of models_mae.py.
    """
    values = patches(view)
    mean, deviation = statistics(values, epsilon=epsilon)
    return (values - mean) / deviation


def statistics(values: Array, *, epsilon: float = EPSILON) -> tuple[Array, Array]:
    """Mean and deviation f32[B, P, 1] of each patch, the deviation sqrt(variance + epsilon)."""
    mean = jnp.mean(values, axis=-1, keepdims=True)
    variance = jnp.var(values, axis=-1, keepdims=True, ddof=1)
    return mean, jnp.sqrt(variance + epsilon)


def plain_prediction(view: View, prediction: Array) -> Array:
    """A prediction of `patches` in units of the inputs: itself."""
    return prediction.astype(jnp.float32)


def denormalise(view: View, prediction: Array) -> Array:
    """A prediction of `normalised_patches` in units of the inputs: the true statistics put back."""
    mean, deviation = statistics(patches(view))
    return prediction.astype(jnp.float32) * deviation + mean


# How a prediction of each target becomes a picture, see objectives.match.
patches.pixels = plain_prediction
normalised_patches.pixels = denormalise
