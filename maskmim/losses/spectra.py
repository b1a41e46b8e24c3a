"""Losses between the Fourier spectra of whole pictures."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.types import Array


def focal_frequency(prediction: Array, target: Array) -> Array:
    """Return the mean squared distance of two spectra, weighted by the distance itself.

    prediction, target: f32[..., H, W, C]. Returns f32[...].
    With d the difference of the orthonormal discrete Fourier transforms of a channel, a frequency
    has the loss w |d|^2, where w = log(1 + |d|) divided by its largest value over the frequencies
    and channels of a picture; no gradient passes through w. The loss of equal pictures is 0.
    Source: focal frequency loss (arXiv 2012.12821) with log_matrix, alpha 1 and batch_matrix for a
    batch of one; FocalFrequencyLoss of openmixup/models/losses/focal_loss.py,
    Westlake-AI/openmixup.
    """
    difference = prediction.astype(jnp.float32) - target.astype(jnp.float32)
    spectrum = jnp.fft.fft2(difference, axes=(-3, -2), norm="ortho")
    squared = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    weight = jnp.log1p(jnp.sqrt(jax.lax.stop_gradient(squared)))
    largest = jnp.max(weight, axis=(-3, -2, -1), keepdims=True)
    return jnp.mean(weight / jnp.maximum(largest, 1e-30) * squared, axis=(-3, -2, -1))
