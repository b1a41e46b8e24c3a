"""Classifiers of pooled features, as learned functions that objectives call."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config.ranges import Positive, PositiveInt
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


def normed_linear(
    width: int, *, classes: PositiveInt, std: Positive = 2e-5, norm_eps: Positive = 1e-6
) -> LearnedFunction:
    """Return a LayerNorm and a linear layer, [..., D] -> f32[..., classes].

    classes: as of `linear`. std: of the normal distribution that the kernel starts from.
    norm_eps: of the norm.
    params: {'norm': {'scale', 'bias'} f32[D], 'kernel': f32[D, classes], 'bias': f32[classes]}.
    Source: fc_norm and head of models_vit.py and main_finetune.py of MAE, which pools the tokens
    first and has no norm behind the last block; it truncates the normal distribution at 2.
    """

    def init(key: Array) -> Tree:
        kernel = std * jax.random.normal(key, (width, classes), jnp.float32)
        norm = {"scale": jnp.ones(width), "bias": jnp.zeros(width)}
        return {"norm": norm, "kernel": kernel, "bias": jnp.zeros(classes)}

    def call(params: Tree, features: Array) -> Array:
        ones = (1,) * (features.ndim - 1)
        row = {name: each.reshape(*ones, -1) for name, each in params["norm"].items()}
        normed = jax.nn.standardize(features.astype(jnp.float32), axis=-1, epsilon=norm_eps)
        logits = jnp.matmul(normed * row["scale"] + row["bias"], params["kernel"])
        return logits + params["bias"].reshape(*ones, -1)

    return LearnedFunction(init, call, f"LayerNorm and linear, {classes:,} classes")
