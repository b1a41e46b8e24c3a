"""Heads: one dense layer for each kind of prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Initializer

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype, xavier
from maskmim.types import Array


def head_widths(
    heads: Mapping[str, int | None], patch: tuple[int, ...], channels: int
) -> dict[str, int]:
    """{name: values per token}, those of a patch where a head says None."""
    values = math.prod(patch) * channels
    return {name: values if count is None else count for name, count in heads.items()}


def dense_heads(
    heads: Mapping[str, int], tokens: Array, dtype: Dtype, *, start: Initializer = xavier
) -> dict[str, Array]:
    """The dense layers 'head_<name>' of the module that calls this, on tokens [..., D].

    Returns {name: f32[..., values]}.
    """
    layers = {
        name: nn.Dense(values, kernel_init=start, dtype=dtype, name=f"head_{name}")
        for name, values in heads.items()
    }
    found = {name: constraints.values(layer(tokens)) for name, layer in layers.items()}
    return {name: values.astype(jnp.float32) for name, values in found.items()}


def head_words(heads: Mapping[str, int]) -> str:
    """Heads for people: 'pixels 768, loss 1'."""
    return ", ".join(f"{name} {values}" for name, values in heads.items())
