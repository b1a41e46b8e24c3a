"""Classifiers of patch tokens: attention by learned queries, then a linear layer.

A query that does not depend on the image allows the same function with less work: keys are products
of the query and the key projection, and values are projected after the sum over tokens, so that no
token is multiplied by a matrix of its own width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from maskmim.evals.features import Unsuitable
from maskmim.evals.probe_training import EXACT, batch_norm, initial_layers, normalise
from maskmim.types import Array, Tree

NORM_EPSILON = 1e-5
DEVIATION = 0.02


class Head(NamedTuple):
    """A classifier of tokens f32[b, K, D].

    init:  (key, width, classes) -> (params, stats).
    train: (params, stats, tokens) -> (logits f32[b, C], new stats), by statistics of the batch.
    test:  (params, stats, tokens) -> logits, by the running statistics.
    """

    init: Callable[[Array, int, int], tuple[Tree, Tree]]
    train: Callable[[Tree, Tree, Array], tuple[Array, Tree]]
    test: Callable[[Tree, Tree, Array], Array]


def cross_attention_head(head_width: int) -> Head:
    """Return V-JEPA's attentive probe: cross-attention by one query, an MLP, a linear layer.

    head_width: D of one head; the heads are max(1, D // head_width).
    Source: V-JEPA (arXiv 2404.08471), src/models/attentive_pooler.py and modules.py: pre-norm block
    with residuals, biases, MLP ratio 4, weights N(0, .02), those that end a branch divided by
    sqrt(2), LayerNorm eps 1e-5. Difference: the linear layer begins as that of MAE's probe.
    """

    def init(key: Array, width: int, classes: int) -> tuple[Tree, Tree]:
        heads = head_count(width, head_width)
        shapes = {
            "query": (1, width),
            "to_query": (width, width),
            "to_key": (width, heads, width // heads),
            "to_value": (width, heads, width // heads),
            "out": (width, width),
            "up": (width, 4 * width),
            "down": (4 * width, width),
        }
        *keys, last = jax.random.split(key, len(shapes) + 1)
        params = {
            name: DEVIATION * jax.random.normal(k, shape, jnp.float32)
            for k, (name, shape) in zip(keys, shapes.items(), strict=True)
        }
        for name in ("out", "down"):
            params[name] /= math.sqrt(2.0)
        biases = {"query": width, "value": width, "out": width, "up": 4 * width, "down": width}
        params |= {f"{name}_bias": jnp.zeros(size) for name, size in biases.items()}
        for norm in ("norm1", "norm2"):
            params |= {f"{norm}_scale": jnp.ones(width), f"{norm}_bias": jnp.zeros(width)}
        return params | {"linear": first_layer(last, width, classes)}, ()

    def test(params: Tree, stats: Tree, tokens: Array) -> Array:
        return linear(params["linear"], pool_by_block(params, tokens))

    def train(params: Tree, stats: Tree, tokens: Array) -> tuple[Array, Tree]:
        return test(params, stats, tokens), stats

    return Head(init, train, test)


def pool_by_block(params: Tree, tokens: Array) -> Array:
    """Return f32[b, D] of V-JEPA's block on tokens f32[b, K, D]; params as of its `init`.

    The bias of the keys is left out: it adds the same to all scores of a query.
    """
    heads, size = params["to_key"].shape[1:]
    query = (params["query"] @ params["to_query"] + params["query_bias"]).reshape(heads, size)
    keys = jnp.einsum("dhs,hs->hd", params["to_key"], query) * params["norm1_scale"]
    standard = standardise(tokens)
    attention = jax.nn.softmax(jnp.einsum("bkd,hd->bhk", standard, keys) / math.sqrt(size), axis=-1)
    mixed = jnp.einsum("bhk,bkd->bhd", attention, standard)
    mixed = mixed * params["norm1_scale"] + params["norm1_bias"]
    values = jnp.einsum("bhd,dhs->bhs", mixed, params["to_value"])
    values = values.reshape(len(tokens), -1) + params["value_bias"]
    pooled = params["query"] + values @ params["out"] + params["out_bias"]
    normed = standardise(pooled) * params["norm2_scale"] + params["norm2_bias"]
    hidden = jax.nn.gelu(normed @ params["up"] + params["up_bias"], approximate=False)
    return pooled + hidden @ params["down"] + params["down_bias"]


def head_count(width: int, head_width: int) -> int:
    """Return the number of heads; raise Unsuitable where they do not divide the width."""
    heads = max(1, width // head_width)
    if width % heads:
        raise Unsuitable(
            f"{heads} heads of {head_width} do not divide the width {width} of tokens: set another "
            "head_width"
        )
    return heads


def efficient_head(queries: int) -> Head:
    """Return the head of efficient probing: several queries, no keys, BatchNorm, a linear layer.

    queries: each attends over the whole width and fills D / queries of the pooled values.
    Source: Attention, Please! (arXiv 2506.10178), poolings/ep.py: queries N(0, .02), scores divided
    by sqrt(D), values without bias; then MAE's BatchNorm without affine part and linear layer.
    Difference: the projection to values begins as N(0, 1 / D), where theirs is torch's default.
    """

    def init(key: Array, width: int, classes: int) -> tuple[Tree, Tree]:
        if width % queries:
            fits = [count for count in range(1, width + 1) if width % count == 0]
            near = min(fits, key=lambda count: abs(count - queries))
            raise Unsuitable(
                f"{queries} queries do not divide the width {width} of tokens: set queries={near}"
            )
        of_queries, of_values, last = jax.random.split(key, 3)
        params = {
            "queries": DEVIATION * jax.random.normal(of_queries, (queries, width), jnp.float32),
            "to_value": jax.random.normal(of_values, (width, width), jnp.float32)
            / math.sqrt(width),
            "linear": first_layer(last, width, classes),
        }
        return params, (jnp.zeros(width), jnp.ones(width))

    def train(params: Tree, stats: Tree, tokens: Array) -> tuple[Array, Tree]:
        normed, *stats = batch_norm(pool_by_queries(params, tokens), *stats)
        return linear(params["linear"], normed), tuple(stats)

    def test(params: Tree, stats: Tree, tokens: Array) -> Array:
        normed = normalise(pool_by_queries(params, tokens), *stats)
        return linear(params["linear"], normed)

    return Head(init, train, test)


def pool_by_queries(params: Tree, tokens: Array) -> Array:
    """Return f32[b, D] of efficient probing on tokens f32[b, K, D]."""
    queries = params["queries"]
    count, width = queries.shape
    scores = jnp.einsum("bkd,qd->bqk", tokens, queries) / math.sqrt(width)
    mixed = jnp.einsum("bqk,bkd->bqd", jax.nn.softmax(scores, axis=-1), tokens)
    parts = params["to_value"].reshape(width, count, width // count)
    return jnp.einsum("bqd,dqs->bqs", mixed, parts).reshape(len(tokens), width)


def standardise(rows: Array) -> Array:
    """Return rows [..., D] with mean 0 and deviation 1, as LayerNorm without affine part."""
    centred = rows - rows.mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(axis=-1, keepdims=True) + NORM_EPSILON)


def first_layer(key: Array, width: int, classes: int) -> Tree:
    """Return the linear layer before training, see `probe_training.initial_layers`."""
    return initial_layers(key, width, (("linear", classes),))["linear"]


def linear(layer: Tree, rows: Array) -> Array:
    """Return the logits of f32[b, D]."""
    return jnp.matmul(rows, layer["kernel"], precision=EXACT) + layer["bias"]
