"""Vectors and the codes of a codebook: the nearest code, a gradient past it, how codes are used.

Pure functions, for tokenizers of any kind; `maskmim.quantize.ema_codebook` keeps an averaged codebook with them.
Letters in shapes: K codes, D their width.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.types import Array

# Products of float32 numbers as they are: nearest codes change where accelerators round them.
EXACT = jax.lax.Precision.HIGHEST


def unit(vectors: Array, *, epsilon: float = 1e-12) -> Array:
    """Vectors f32[..., D] of length 1; those shorter than epsilon become vectors / epsilon."""
    square = jnp.sum(vectors**2, axis=-1, keepdims=True)
    # The root of at least epsilon^2, so that a zero has a gradient too.
    return vectors / jnp.sqrt(jnp.maximum(square, epsilon**2))


def nearest(vectors: Array, codebook: Array) -> Array:
    """The code with the smallest euclidean distance: f32[..., D], f32[K, D] -> i32[...].

    The first of equally near ones. No gradient passes. Computed in float32.
    """
    vectors, codebook = vectors.astype(jnp.float32), codebook.astype(jnp.float32)
    products = jnp.einsum("...d,kd->...k", vectors, codebook, precision=EXACT)
    nearness = 2.0 * products - jnp.sum(codebook**2, axis=-1)
    return jnp.argmax(nearness, axis=-1).astype(jnp.int32)


def nearest_cosine(vectors: Array, codebook: Array) -> Array:
    """The code with the smallest angle: f32[..., D], f32[K, D] -> i32[...], else as `nearest`."""
    codebook = unit(codebook.astype(jnp.float32))
    products = jnp.einsum("...d,kd->...k", vectors.astype(jnp.float32), codebook, precision=EXACT)
    return jnp.argmax(products, axis=-1).astype(jnp.int32)


def straight_through(vectors: Array, quantised: Array) -> Array:
    """The quantised vectors, with gradients that pass to `vectors` as if they were those.

    Source: Estimating or Propagating Gradients (arXiv 1308.3432); VQ-VAE (arXiv 1711.00937).
    """
    return vectors + jax.lax.stop_gradient(quantised - vectors)


def code_counts(codes: Array, size: int) -> Array:
    """How often each of `size` codes occurs: i32[...] -> f32[size]."""
    flat = codes.reshape(-1)
    return jnp.zeros((size,), jnp.float32).at[flat].add(1.0, mode="promise_in_bounds")


def code_sums(vectors: Array, codes: Array, size: int) -> Array:
    """The sum of the vectors of each code: f32[..., D], i32[...] -> f32[size, D]."""
    width = vectors.shape[-1]
    flat = vectors.reshape(-1, width).astype(jnp.float32)
    sums = jnp.zeros((size, width), jnp.float32)
    return sums.at[codes.reshape(-1)].add(flat, mode="promise_in_bounds")


def perplexity(counts: Array) -> Array:
    """exp(entropy) of codes that occur so often: f32[..., K] -> f32[...], between 1 and K.

    As many equally frequent codes would have the same entropy. 1 where nothing was counted.
    """
    total = jnp.sum(counts, axis=-1, keepdims=True)
    share = counts / jnp.maximum(total, 1e-30)
    return jnp.exp(jnp.sum(jax.scipy.special.entr(share), axis=-1))


def used(counts: Array, *, least: float = 0.0) -> Array:
    """The share of codes that occur more often than `least`: f32[..., K] -> f32[...]."""
    return jnp.mean((counts > least).astype(jnp.float32), axis=-1)
