"""How a network is computed, whatever the network: dtype, recomputation, loops over blocks."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax.numpy as jnp

from maskmim.config.ranges import DtypeName
from maskmim.models.layers.blocks import REMAT, Dtype
from maskmim.models.layers.errors import ModelError

DTYPES = ("float32", "bfloat16")
Remat = Literal["none", "full", "dots", "dots_no_batch"]


class Compute(NamedTuple):
    """Choices that leave parameters and their shapes as they are.

    dtype:  of activations and matrix products.
    remat:  what the backward pass recomputes, a key of `blocks.REMAT`.
    unroll: whether blocks run one after another instead of in a loop.
    """

    dtype: Dtype
    remat: str
    unroll: bool


def compute(
    *, dtype: DtypeName = "float32", remat: Remat = "none", unroll: bool = False
) -> Compute:
    """Return how to compute a network; models take this brick as their keyword `compute`.

    dtype:  of the computation, 'float32' or 'bfloat16'; parameters and norms stay float32.
    remat:  what the backward pass recomputes to save memory: 'none', 'full' (every block), 'dots'
            or 'dots_no_batch' (all but matrix products, or but those without a batch dimension).
    unroll: run the blocks one after another instead of in a loop: same numbers, slower to compile;
            meant for counting FLOPs, as XLA counts the body of a loop once.
    Raises ModelError for an unknown dtype or remat policy.
    """
    if dtype not in DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}: use {' or '.join(DTYPES)}")
    if remat not in REMAT:
        raise ModelError(f"unknown remat policy {remat!r}: use one of {', '.join(REMAT)}")
    return Compute(jnp.dtype(dtype), remat, unroll)
