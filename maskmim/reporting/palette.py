"""A colour for each class or code, the same for equal ones."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.types import Array

# Steps of a sequence that fills the cube of colours evenly: the powers of the inverse of the
# smallest root above 1 of x^4 = x + 1 (M. Roberts, 2018).
STEPS = (0.8191725134, 0.6710436067, 0.5497004779)


def palette(codes: Array) -> Array:
    """Return a colour for each code: i32[...] -> u8[..., 3], the same for equal codes."""
    turned = [codes.astype(jnp.float32) * step for step in STEPS]
    turns = (jnp.stack(turned, axis=-1) + 0.5) % 1.0
    return (32 + 223 * turns).astype(jnp.uint8)
