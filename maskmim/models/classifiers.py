"""Classifiers of pooled features, as learned functions that objectives call."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config.ranges import PositiveInt
from maskmim.models.layers.init import small_normal
from maskmim.types import Array, LearnedFunction, Tree


def linear(width: int, *, classes: PositiveInt) -> LearnedFunction:
    """Return a linear layer from features to logits, [..., D] -> f32[..., classes].

    classes: as many as `input.labels` says of the set that `objectives.label` reads.
    params: {'kernel': f32[D, classes], 'bias': f32[classes]}; the kernel starts from N(0, 0.02),
    the bias at 0.
    Source: the head of ViTs in timm and DeiT (which truncate the normal distribution at 2).
    """

    def init(key: Array) -> Tree:
        kernel = small_normal(key, (width, classes), jnp.float32)
        return {"kernel": kernel, "bias": jnp.zeros(classes)}

    def call(params: Tree, features: Array) -> Array:
        logits = jnp.matmul(features.astype(jnp.float32), params["kernel"])
        return logits + params["bias"].reshape((1,) * (logits.ndim - 1) + (classes,))

    return LearnedFunction(init, call, f"linear, {classes:,} classes")
