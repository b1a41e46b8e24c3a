"""Prediction heads: one dense layer each."""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax.numpy as jnp
from flax.typing import Initializer

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype, xavier
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.errors import ModelError
from maskmim.types import Array


def head_widths(
    heads: Mapping[str, int | None], patch: tuple[int, ...], channels: int
) -> dict[str, int]:
    """Return {name: values per token}; a head with None predicts all values of a patch."""
    patch_values = math.prod(patch) * channels
    return {name: patch_values if count is None else count for name, count in heads.items()}


def dense_heads(
    heads: Mapping[str, int], tokens: Array, dtype: Dtype, *, start: Initializer = xavier
) -> dict[str, Array]:
    """Apply dense layers 'head_<name>' of the calling module to tokens [..., D].

    Returns {name: f32[..., values]}.
    """
    layers = {
        name: Dense(values, kernel_init=start, dtype=dtype, name=f"head_{name}")
        for name, values in heads.items()
    }
    outputs = {name: constraints.constrain_outputs(layer(tokens)) for name, layer in layers.items()}
    return {name: values.astype(jnp.float32) for name, values in outputs.items()}


def head_output(outputs: Mapping[str, Array], head: str) -> Array:
    """Return the output of a head; raise ModelError, naming those that there are, for no head."""
    if head not in outputs:
        raise ModelError(
            f"there is no head {head!r}: the network has {', '.join(sorted(outputs)) or 'none'}, "
            "as model.heads says; name one of these in the objective or teacher that reads it"
        )
    return outputs[head]


def describe_heads(heads: Mapping[str, int]) -> str:
    """Describe heads in a line for people: 'pixels 768, loss 1'."""
    return ", ".join(f"{name} {values}" for name, values in heads.items())
