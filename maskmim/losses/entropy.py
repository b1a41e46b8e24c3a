"""The loss that keeps a codebook in use: sure of each token, even over all of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.quantize.vector_quantize import EXACT
from maskmim.types import Array

# Added to the mean probabilities under the logarithm.
EPSILON = 1e-5


def distances(vectors: Array, codebook: Array) -> Array:
    """Squared euclidean distances: f32[..., D], f32[K, D] -> f32[..., K]."""
    products = jnp.einsum("...d,kd->...k", vectors, codebook, precision=EXACT)
    squares = jnp.sum(vectors**2, axis=-1, keepdims=True)
    return squares - 2.0 * products + jnp.sum(codebook**2, axis=-1)


def code_entropy(distances: Array, *, temperature: float = 0.01) -> Array:
    """The entropy of the codes of a token, averaged, less that of the average: f32[].

    distances: f32[..., K]; a code's probability is the softmax of -distance / temperature. Between
    -log K, each token sure of its code and all codes in equal use, and 0.
    It is no mean over examples: the average is over all tokens that are handed in together.
    Source: entropy_loss of libml/losses.py, google-research/maskgit, with the type 'softmax'. There
    the average is over the examples of one device.
    """
    logits = -distances.reshape(-1, distances.shape[-1]).astype(jnp.float32) / temperature
    chances = jax.nn.softmax(logits, axis=-1)
    each = -jnp.mean(jnp.sum(chances * jax.nn.log_softmax(logits, axis=-1), axis=-1))
    average = jnp.mean(chances, axis=0)
    return each + jnp.sum(average * jnp.log(average + EPSILON))
