"""Scaled dot-product attention: one form for accelerators, one for a CPU, with equal results.

All take query, key, value [B, heads, n, size] and return [B, heads, n, size]; scores and softmax
are float32, the two products are in the dtype of what enters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import jax
import jax.numpy as jnp

from maskmim.types import Array

Attend = Callable[[Array, Array, Array], Array]

# On a CPU scores beyond so many bytes fall out of every cache; they are worked off in such parts.
LARGE = 8_000_000
PART = 3_000_000

_ELSEWHERE = ContextVar("networks are built for accelerators of another machine", default=False)


@contextmanager
def for_accelerators() -> Iterator[None]:
    """Networks made inside are those of accelerators, whatever is at hand; for plans."""
    before = _ELSEWHERE.set(True)
    try:
        yield
    finally:
        _ELSEWHERE.reset(before)


def fastest() -> Attend:
    """The function for the devices at hand: `on_cpu` on a single CPU device, else `plain`."""
    single_cpu = jax.default_backend() == "cpu" and jax.device_count() == 1
    return on_cpu if single_cpu and not _ELSEWHERE.get() else plain


def plain(query: Array, key: Array, value: Array) -> Array:
    """Attention as it is written, which compilers for accelerators know how to fuse."""
    weights = jax.nn.softmax(scores(query, key) / math.sqrt(query.shape[-1]), axis=-1)
    return jnp.einsum("bhqk,bhkd->bhqd", weights.astype(value.dtype), value)


def of_first(query: Array, key: Array) -> Array:
    """The attention of the first token: f32[B, heads, n]."""
    first = scores(query[:, :, :1], key) / math.sqrt(query.shape[-1])
    return jax.nn.softmax(first, axis=-1)[:, :, 0]


def on_cpu(query: Array, key: Array, value: Array) -> Array:
    """Attention with fewer passes over the scores, in parts where the scores are large.

    XLA's loops over scores are bound by memory on a CPU. Weights are normalised after the product
    with the values (one pass less, and none in the backward pass); where the scores of a batch do
    not fit the cache, a few examples at a time are worked off and their scores computed again in
    the backward pass (FlashAttention, arXiv 2205.14135, by example instead of by block).
    """
    query = query / math.sqrt(query.shape[-1])
    examples, heads, length, _ = query.shape
    each = heads * length * length * 4
    if examples * each <= LARGE:
        return normalised_late(query, key, value)
    return in_parts(query, key, value, _divisor(examples, PART // each))


def scores(query: Array, key: Array) -> Array:
    """Products of queries and keys: f32[B, heads, n, n]."""
    return jnp.einsum("bhqd,bhkd->bhqk", query, key, preferred_element_type=jnp.float32)


def normalised_late(query: Array, key: Array, value: Array) -> Array:
    """Attention of scaled queries, divided by the sum of weights after the product with values."""
    found = scores(query, key)
    largest = jax.lax.stop_gradient(jnp.max(found, axis=-1, keepdims=True))
    return _weigh(jnp.exp(found - largest), value)[0]


def _weigh(weights: Array, value: Array) -> tuple[Array, Array]:
    """(mixed values, sums of weights)."""
    total = jnp.sum(weights, axis=-1, keepdims=True)
    mixed = jnp.einsum(
        "bhqk,bhkd->bhqd",
        weights.astype(value.dtype),
        value,
        preferred_element_type=jnp.float32,
    )
    return (mixed / total).astype(value.dtype), total


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def in_parts(query: Array, key: Array, value: Array, examples: int) -> Array:
    """Attention of scaled queries, so many examples at a time; they must divide the batch."""
    return _map_parts(_forward, examples, query, key, value)[0]


def _in_parts_forward(query: Array, key: Array, value: Array, examples: int):
    mixed, normaliser = _map_parts(_forward, examples, query, key, value)
    return mixed, (query, key, value, mixed, normaliser)


def _in_parts_backward(examples: int, kept: tuple[Array, ...], gradient: Array):
    return _map_parts(_backward, examples, *kept, gradient)


in_parts.defvjp(_in_parts_forward, _in_parts_backward)


def _forward(query: Array, key: Array, value: Array) -> tuple[Array, Array]:
    """(mixed values, logarithm of the sum of exponentials of each row of scores)."""
    found = scores(query, key)
    largest = jnp.max(found, axis=-1, keepdims=True)
    mixed, total = _weigh(jnp.exp(found - largest), value)
    return mixed, largest + jnp.log(total)


def _backward(
    query: Array, key: Array, value: Array, mixed: Array, normaliser: Array, gradient: Array
) -> tuple[Array, Array, Array]:
    """Gradients of query, key and value; the weights are computed again."""
    weights = jnp.exp(scores(query, key) - normaliser)
    share = jnp.sum((gradient * mixed).astype(jnp.float32), axis=-1, keepdims=True)
    change = (weights * (scores(gradient, value) - share)).astype(query.dtype)
    weights = weights.astype(value.dtype)
    return (
        jnp.einsum("bhqk,bhkd->bhqd", change, key),
        jnp.einsum("bhqk,bhqd->bhkd", change, query),
        jnp.einsum("bhqk,bhqd->bhkd", weights, gradient),
    )


def _map_parts(function: Callable, examples: int, *arrays: Array) -> tuple[Array, ...]:
    """A function of arrays with examples first, applied to so many examples at a time."""
    batch = arrays[0].shape[0]
    parts = tuple(a.reshape(batch // examples, examples, *a.shape[1:]) for a in arrays)
    found = jax.lax.map(lambda part: function(*part), parts)
    return tuple(a.reshape(batch, *a.shape[2:]) for a in found)


def _divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is at most `most`, at least 1."""
    return next(count for count in range(max(1, min(number, most)), 0, -1) if number % count == 0)
