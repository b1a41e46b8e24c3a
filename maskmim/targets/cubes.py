"""Pixels normalised within each patch and each channel, the target of VideoMAE."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import Positive
from maskmim.targets.pixels import patches
from maskmim.types import Array, View

# VideoMAE adds this to the deviation (engine_for_pretraining.py), in units of pixels in [0, 1].
EPSILON = 1e-6


def denormalise(view: View, prediction: Array) -> Array:
    """Return a prediction in units of the inputs, with each channel's true mean and deviation."""
    channels = view.inputs.shape[-1]
    _, mean, deviation = channel_statistics(patches(view), channels)
    values, *_ = channel_statistics(prediction.astype(jnp.float32), channels)
    return (values * deviation + mean).reshape(prediction.shape)


@facts.target(pixels=denormalise)
def normalised_cubes(view: View, *, epsilon: Positive = EPSILON) -> Array:
    """Return the pixels of the predicted patches, each channel with mean 0 and variance 1.

    Returns f32[B, P, V] = (x - mean) / (sqrt(variance) + epsilon), x pixels in [0, 1] in the order
    of `Net.patchify`. The statistics of each channel are over the V / C pixels of a patch, of all
    its frames, variance unbiased.
    MAE's `pixels.normalised_patches` differs in three ways: it normalises all channels together,
    it does so after the inputs are normalised by the data's statistics, and it adds epsilon within
    the root.
    Source: VideoMAE (arXiv 2203.12602), section 3.3, and engine_for_pretraining.py of
    MCG-NJU/VideoMAE.
    """
    (stream,) = view.net.grids
    array = view.context.batch[stream]
    pixels = array.astype(jnp.float32) / (255.0 if array.dtype == jnp.uint8 else 1.0)
    all_patches = view.net.patchify(pixels)
    predicted = jnp.take_along_axis(all_patches, view.mask.predict[..., None], axis=1)
    values, mean, deviation = channel_statistics(predicted, array.shape[-1])
    return ((values - mean) / (deviation + epsilon)).reshape(predicted.shape)


def channel_statistics(values: Array, channels: int) -> tuple[Array, Array, Array]:
    """Return patches f32[B, P, V] as [B, P, V / C, C], and their mean and deviation [B, P, 1, C].

    The variance is unbiased.
    """
    split = values.reshape(*values.shape[:2], -1, channels)
    mean = jnp.mean(split, axis=2, keepdims=True)
    variance = jnp.var(split, axis=2, keepdims=True, ddof=1)
    return split, mean, jnp.sqrt(variance)
