"""The entropy loss of a codebook: certain about each token, even over all of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config.ranges import Positive
from maskmim.quantize.vector_quantize import EXACT
from maskmim.types import Array

# Added to the mean probabilities before their logarithm.
EPSILON = 1e-5


def squared_distances(vectors: Array, codebook: Array) -> Array:
    """Return squared euclidean distances: f32[..., D], f32[K, D] -> f32[..., K]."""
    products = jnp.einsum("...d,kd->...k", vectors, codebook, precision=EXACT)
    squares = jnp.sum(vectors**2, axis=-1, keepdims=True)
    lengths = jnp.sum(codebook**2, axis=-1)
    return squares - 2.0 * products + jnp.broadcast_to(lengths, products.shape)


def code_entropy(distances: Array, *, temperature: Positive = 0.01) -> Array:
    """Return the mean entropy of each token's codes minus the entropy of their mean: f32[].

    distances: f32[..., K]; a code's probability is the softmax of -distance / temperature.
    The result lies between -log K, where each token is certain of its code and all codes are used
    equally, and 0. Not additive over micro-batches: averages over all tokens passed in.
    Source: entropy_loss of libml/losses.py, google-research/maskgit, with the type 'softmax'. The
    official code averages over the examples of one device.
    """
    logits = -distances.reshape(-1, distances.shape[-1]).astype(jnp.float32) / temperature
    probabilities = jax.nn.softmax(logits, axis=-1)
    log_probabilities = jax.nn.log_softmax(logits, axis=-1)
    token_entropy = -jnp.mean(jnp.sum(probabilities * log_probabilities, axis=-1))
    average = jnp.mean(probabilities, axis=0)
    return token_entropy + jnp.sum(average * jnp.log(average + EPSILON))
