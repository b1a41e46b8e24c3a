"""Scaled dot-product attention: one form for accelerators, one for a CPU, with equal results.

All take query, key, value [B, heads, n, size] and return [B, heads, n, size]; scores and softmax
are float32, the two matrix products are in the dtype of the inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from maskmim.models.layers.machine import for_one_cpu
from maskmim.types import Array

Attend = Callable[[Array, Array, Array], Array]

# Scores of more bytes than CACHE_BYTES fit no cache of a CPU; they are computed in chunks of at
# most CHUNK_BYTES.
CACHE_BYTES = 8_000_000
CHUNK_BYTES = 3_000_000


def fastest_attention() -> Attend:
    """Return `cpu_attention` on a machine with one CPU device, else `plain_attention`."""
    return cpu_attention if for_one_cpu() else plain_attention


def plain_attention(query: Array, key: Array, value: Array) -> Array:
    """Attend by the textbook formula, which compilers for accelerators fuse."""
    weights = jax.nn.softmax(attention_scores(query, key) / math.sqrt(query.shape[-1]), axis=-1)
    return jnp.einsum("bhqk,bhkd->bhqd", weights.astype(value.dtype), value)


def top_k_attention(query: Array, key: Array, value: Array, *, count: int) -> Array:
    """Attend to the `count` keys of the highest scores of each query; more only where scores tie.

    The choice passes no gradient. Source: the homologous attention of MixedAE (arXiv 2303.17152).
    """
    scores = attention_scores(query, key) / math.sqrt(query.shape[-1])
    highest, _ = jax.lax.top_k(jax.lax.stop_gradient(scores), count)
    kept = jnp.where(scores >= highest[..., -1:], scores, -jnp.inf)
    weights = jax.nn.softmax(kept, axis=-1)
    return jnp.einsum("bhqk,bhkd->bhqd", weights.astype(value.dtype), value)


def causal_attention(query: Array, key: Array, value: Array) -> Array:
    """Attend to tokens at the same place and before, as `plain_attention`."""
    scores = attention_scores(query, key) / math.sqrt(query.shape[-1])
    length = query.shape[2]
    before = jnp.tril(jnp.ones((1, 1, length, length), bool))
    weights = jax.nn.softmax(jnp.where(before, scores, -jnp.inf), axis=-1)
    return jnp.einsum("bhqk,bhkd->bhqd", weights.astype(value.dtype), value)


def present_attention(query: Array, key: Array, value: Array, *, absent: Array) -> Array:
    """Attend to the tokens that are there; absent bool[B, n] marks those that are not.

    Where a whole example is absent, its tokens attend to all alike.
    """
    scores = attention_scores(query, key) / math.sqrt(query.shape[-1])
    weights = jax.nn.softmax(_without(scores, absent), axis=-1)
    return jnp.einsum("bhqk,bhkd->bhqd", weights.astype(value.dtype), value)


def _without(scores: Array, absent: Array) -> Array:
    """Return scores f32[B, heads, q, n] whose softmax is 0 at the absent keys bool[B, n]."""
    return jnp.where(absent[:, None, None], jnp.finfo(jnp.float32).min, scores)


def first_token_attention(query: Array, key: Array, absent: Array | None = None) -> Array:
    """Return the attention weights of the first token: f32[B, heads, n]; 0 at absent keys."""
    scores = attention_scores(query[:, :, :1], key) / math.sqrt(query.shape[-1])
    scores = scores if absent is None else _without(scores, absent)
    return jax.nn.softmax(scores, axis=-1)[:, :, 0]


def cpu_attention(query: Array, key: Array, value: Array) -> Array:
    """Attend with fewer passes over the scores, in chunks of examples where the scores are large.

    XLA's loops over scores are bound by memory on a CPU. Weights are normalised after the product
    with the values (one pass less, and none in the backward pass); where the scores of a batch do
    not fit the cache, a few examples are processed at a time and their scores computed again in
    the backward pass (FlashAttention, arXiv 2205.14135, by example instead of by block).
    """
    query = query / math.sqrt(query.shape[-1])
    examples, heads, length, _ = query.shape
    example_bytes = heads * length * length * 4
    if examples * example_bytes <= CACHE_BYTES:
        return late_normalised_attention(query, key, value)
    chunk = _largest_divisor(examples, CHUNK_BYTES // example_bytes)
    return chunked_attention(query, key, value, chunk)


def attention_scores(query: Array, key: Array) -> Array:
    """Return the products of queries and keys: f32[B, heads, n, n]."""
    return jnp.einsum("bhqd,bhkd->bhqk", query, key, preferred_element_type=jnp.float32)


def late_normalised_attention(query: Array, key: Array, value: Array) -> Array:
    """Attend with scaled queries, dividing by the sum of weights after the product with values."""
    scores = attention_scores(query, key)
    largest = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    return _mix(jnp.exp(scores - largest), value)[0]


def _mix(weights: Array, value: Array) -> tuple[Array, Array]:
    """Return (mixed values, sums of weights)."""
    total = jnp.sum(weights, axis=-1, keepdims=True)
    mixed = jnp.einsum(
        "bhqk,bhkd->bhqd",
        weights.astype(value.dtype),
        value,
        preferred_element_type=jnp.float32,
    )
    return (mixed / total).astype(value.dtype), total


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def chunked_attention(query: Array, key: Array, value: Array, chunk: int) -> Array:
    """Attend with scaled queries, `chunk` examples at a time; `chunk` must divide the batch."""
    return _map_chunks(_forward, chunk, query, key, value)[0]


def _chunked_forward(query: Array, key: Array, value: Array, chunk: int):
    mixed, normaliser = _map_chunks(_forward, chunk, query, key, value)
    return mixed, (query, key, value, mixed, normaliser)


def _chunked_backward(chunk: int, residuals: tuple[Array, ...], gradient: Array):
    return _map_chunks(_backward, chunk, *residuals, gradient)


chunked_attention.defvjp(_chunked_forward, _chunked_backward)


def _forward(query: Array, key: Array, value: Array) -> tuple[Array, Array]:
    """Return (mixed values, logarithm of the sum of exponentials of each row of scores)."""
    scores = attention_scores(query, key)
    largest = jnp.max(scores, axis=-1, keepdims=True)
    mixed, total = _mix(jnp.exp(scores - largest), value)
    return mixed, largest + jnp.log(total)


def _backward(
    query: Array, key: Array, value: Array, mixed: Array, normaliser: Array, gradient: Array
) -> tuple[Array, Array, Array]:
    """Return the gradients of query, key and value; computes the weights again."""
    weights = jnp.exp(attention_scores(query, key) - normaliser)
    mean = jnp.sum((gradient * mixed).astype(jnp.float32), axis=-1, keepdims=True)
    change = (weights * (attention_scores(gradient, value) - mean)).astype(query.dtype)
    weights = weights.astype(value.dtype)
    return (
        jnp.einsum("bhqk,bhkd->bhqd", change, key),
        jnp.einsum("bhqk,bhqd->bhkd", change, query),
        jnp.einsum("bhqk,bhqd->bhkd", weights, gradient),
    )


def _map_chunks(function: Callable, chunk: int, *arrays: Array) -> tuple[Array, ...]:
    """Apply a function of arrays with examples first to `chunk` examples at a time."""
    batch = arrays[0].shape[0]
    chunks = tuple(a.reshape(batch // chunk, chunk, *a.shape[1:]) for a in arrays)
    results = jax.lax.map(lambda part: function(*part), chunks)
    return tuple(a.reshape(batch, *a.shape[2:]) for a in results)


def _largest_divisor(number: int, most: int) -> int:
    """Return the largest divisor of a number that is at most `most`, at least 1."""
    return next(count for count in range(max(1, min(number, most)), 0, -1) if number % count == 0)
