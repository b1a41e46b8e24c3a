"""Pixels normalised within each patch and each channel, VideoMAE's target."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.targets.pixels import patches
from maskmim.types import Array, View

# VideoMAE adds this to the deviation (engine_for_pretraining.py), in units of pixels in [0, 1].
EPSILON = 1e-6


def normalised_cubes(view: View, *, epsilon: float = EPSILON) -> Array:
    """Pixels of the predicted patches; each channel of a patch has mean 0 and variance 1.

    Returns f32[B, P, V] = (x - mean) / (sqrt(variance) + epsilon), x pixels in [0, 1] in the order
    of `Net.patchify`, statistics over the V / C places of a patch (of all its frames) for each
    channel by itself, variance unbiased.
    MAE's `pixels.normalised_patches` differs in three ways: it normalises all channels together,
    the input after its normalisation by the data's statistics, and adds within the root.
    Source: VideoMAE (arXiv 2203.12602), section 3.3, and engine_for_pretraining.py of
    MCG-NJU/VideoMAE.
    """
    (stream,) = view.net.grids
    given = view.context.batch[stream]
    pixels = given.astype(jnp.float32) / (255.0 if given.dtype == jnp.uint8 else 1.0)
    every = view.net.patchify(pixels)
    chosen = jnp.take_along_axis(every, view.mask.predict[..., None], axis=1)
    values, mean, deviation = by_channel(chosen, given.shape[-1])
    return ((values - mean) / (deviation + epsilon)).reshape(chosen.shape)


def by_channel(values: Array, channels: int) -> tuple[Array, Array, Array]:
    """Patches f32[B, P, V] as [B, P, V / C, C], and their mean and deviation [B, P, 1, C]."""
    split = values.reshape(*values.shape[:2], -1, channels)
    mean = jnp.mean(split, axis=2, keepdims=True)
    variance = jnp.var(split, axis=2, keepdims=True, ddof=1)
    return split, mean, jnp.sqrt(variance)


def denormalise(view: View, prediction: Array) -> Array:
    """A prediction in units of the inputs: the true mean and deviation of each channel put back."""
    channels = view.inputs.shape[-1]
    _, mean, deviation = by_channel(patches(view), channels)
    values, *_ = by_channel(prediction.astype(jnp.float32), channels)
    return (values * deviation + mean).reshape(prediction.shape)


normalised_cubes.pixels = denormalise
