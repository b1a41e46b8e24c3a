"""Standardisation of vectors and of whole examples by statistics of their own."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from maskmim.types import Array

# The sorted values that count, as shares of their number, and what is added to their variance.
FIRST, LAST = 0.1, 0.9
EPSILON = 1e-6


def standardise(values: Array, epsilon: float) -> Array:
    """Subtract the mean of each vector [..., D] and divide by sqrt(variance + epsilon).

    It is a LayerNorm without factors: the variance is biased (divided by D).
    """
    centred = values - jnp.mean(values, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + epsilon)


def standardise_trimmed(values: Array) -> Array:
    """Subtract the mean of each example and divide by its deviation, both of its middle values.

    values: [B, ...] -> f32 of the same shape. Sorted, the first 10 % and the last 10 % of an
    example's values do not count towards its mean and its variance, which is unbiased; a few
    outliers hence shift nothing. Equal values become zeros, up to rounding.
    Source: train_one_epoch of run_pretraining_multimae.py (EPFL-VILAB/MultiMAE), for depth.
    """
    values = values.astype(jnp.float32)
    count = math.prod(values.shape[1:])
    flat = jnp.sort(values.reshape(-1, count), axis=1)
    middle = flat[:, int(FIRST * count) : int(LAST * count)]
    mean = jnp.mean(middle, axis=1)
    deviation = jnp.sqrt(jnp.var(middle, axis=1, ddof=1) + EPSILON)
    shape = (-1, *(1,) * (values.ndim - 1))
    return (values - mean.reshape(shape)) / deviation.reshape(shape)
