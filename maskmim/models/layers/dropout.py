"""Dropout of single values, drawn for each example by its slot in the global batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.types import Array, Randomness


def for_blocks(randomness: Randomness | None, *, depth: int, rate: float) -> Randomness | None:
    """Return the randomness of each of `depth` blocks, stacked along a first axis for a scan.

    Returns None, which drops nothing, without randomness or at rate 0.
    """
    if randomness is None or rate == 0:
        return None
    keys = jax.vmap(jax.random.fold_in, (None, 0))(
        randomness.shared("blocks"), jnp.arange(depth, dtype=jnp.uint32)
    )
    return Randomness(keys, jnp.broadcast_to(randomness.slots, (depth, *randomness.slots.shape)))


def drop(x: Array, randomness: Randomness | None, name: str, *, rate: float) -> Array:
    """Set values of [B, ...] to 0 with probability `rate`, and divide the others by 1 - rate.

    randomness: of one block, see `for_blocks`; None drops nothing.
    name:       of the place in the block; places draw independently of each other.
    """
    if randomness is None:
        return x
    keep = jnp.float32(1 - rate)

    def draw(key: Array) -> Array:
        return jax.random.bernoulli(key, keep, x.shape[1:])

    kept = jax.vmap(draw)(randomness.each(name))
    return jnp.where(kept, x / keep.astype(x.dtype), jnp.zeros((), x.dtype))
