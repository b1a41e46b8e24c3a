"""Stochastic depth: residual branches of single examples are left out in training."""

from __future__ import annotations

import jax
import numpy as np

from maskmim.types import Array, Randomness


def factors(randomness: Randomness | None, *, depth: int, rate: float) -> Array | None:
    """What each block's branches are multiplied with, 0 or 1 / (1 - its rate): f32[depth, B, 2].

    rate: of the last block; it rises in equal steps from 0 at the first, as in timm. The draws are
    the examples' own, see `Randomness`. None, which drops nothing, without randomness or at rate 0.
    Source: Deep Networks with Stochastic Depth (arXiv 1603.09382); DropPath of timm.
    """
    if randomness is None or rate == 0:
        return None
    kept = 1 - np.linspace(0, rate, depth, dtype=np.float32)[:, None]

    def draw(key: Array) -> Array:
        return jax.random.bernoulli(key, kept, (depth, 2)) / kept

    return jax.vmap(draw, out_axes=1)(randomness.each("drop_path"))
