"""Stochastic depth: drop residual branches of single examples in training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.types import Array, Randomness


def drop_path_factors(randomness: Randomness | None, *, depth: int, rate: float) -> Array | None:
    """Return each branch's factor, 0 or 1 / (1 - rate of its block): f32[depth, B, 2].

    rate: of the last block; rates rise in equal steps from 0 in the first block, as in timm. Each
    example draws its own, see `Randomness`. Returns None, which drops nothing, without randomness
    or at rate 0.
    Source: Deep Networks with Stochastic Depth (arXiv 1603.09382); DropPath of timm.
    """
    if randomness is None or rate == 0:
        return None
    keep_rate = 1 - np.linspace(0, rate, depth, dtype=np.float32)[:, None]

    def draw(key: Array) -> Array:
        kept = jax.random.bernoulli(key, jnp.float32(keep_rate), (depth, 2))
        return kept.astype(jnp.float32) / keep_rate

    return jax.vmap(draw, out_axes=1)(randomness.each("drop_path"))
