"""Vector quantisation: nearest codes, straight-through gradients, usage of codes.

Pure functions for tokenizers of any kind; `maskmim.quantize.ema_codebook` builds on them.
Letters in shapes: K codes, D their width.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.types import Array

# Multiply float32 exactly: the nearest code can change where an accelerator rounds products.
EXACT = jax.lax.Precision.HIGHEST


def l2_normalise(vectors: Array, *, epsilon: float = 1e-12) -> Array:
    """Scale vectors f32[..., D] to length 1, or by 1 / epsilon where shorter than epsilon."""
    square = jnp.sum(vectors**2, axis=-1, keepdims=True)
    # Bound the square, not the root, so that the gradient at zero is finite.
    return vectors / jnp.sqrt(jnp.maximum(square, epsilon**2))


def nearest(vectors: Array, codebook: Array) -> Array:
    """Return the code at the smallest euclidean distance: f32[..., D], f32[K, D] -> i32[...].

    The first of equally near codes wins. No gradient passes. Computed in float32.
    """
    vectors, codebook = vectors.astype(jnp.float32), codebook.astype(jnp.float32)
    products = jnp.einsum("...d,kd->...k", vectors, codebook, precision=EXACT)
    nearness = 2.0 * products - jnp.broadcast_to(jnp.sum(codebook**2, axis=-1), products.shape)
    return jnp.argmax(nearness, axis=-1).astype(jnp.int32)


def nearest_cosine(vectors: Array, codebook: Array) -> Array:
    """Return the code at the smallest angle: f32[..., D], f32[K, D] -> i32[...], as `nearest`."""
    codebook = l2_normalise(codebook.astype(jnp.float32))
    products = jnp.einsum("...d,kd->...k", vectors.astype(jnp.float32), codebook, precision=EXACT)
    return jnp.argmax(products, axis=-1).astype(jnp.int32)


def straight_through(vectors: Array, quantised: Array) -> Array:
    """Return the quantised vectors, whose gradients pass unchanged to `vectors`.

    Source: Estimating or Propagating Gradients (arXiv 1308.3432); VQ-VAE (arXiv 1711.00937).
    """
    return vectors + jax.lax.stop_gradient(quantised - vectors)


def code_counts(codes: Array, size: int) -> Array:
    """Count how often each of `size` codes occurs: i32[...] -> f32[size]."""
    flat = codes.reshape(-1)
    return jnp.zeros((size,), jnp.float32).at[flat].add(1.0, mode="promise_in_bounds")


def code_sums(vectors: Array, codes: Array, size: int) -> Array:
    """Sum the vectors of each code: f32[..., D], i32[...] -> f32[size, D]."""
    width = vectors.shape[-1]
    flat = vectors.reshape(-1, width).astype(jnp.float32)
    sums = jnp.zeros((size, width), jnp.float32)
    return sums.at[codes.reshape(-1)].add(flat, mode="promise_in_bounds")


def perplexity(counts: Array) -> Array:
    """Return exp(entropy) of the codes' frequencies: f32[..., K] -> f32[...], between 1 and K.

    That many equally frequent codes have the same entropy. 1 where all counts are 0.
    """
    total = jnp.sum(counts, axis=-1, keepdims=True)
    share = counts / jnp.maximum(total, 1e-30)
    return jnp.exp(jnp.sum(jax.scipy.special.entr(share), axis=-1))


def used_share(counts: Array, *, least: float = 0.0) -> Array:
    """Return the share of codes that occur more often than `least`: f32[..., K] -> f32[...]."""
    return jnp.mean((counts > least).astype(jnp.float32), axis=-1)
