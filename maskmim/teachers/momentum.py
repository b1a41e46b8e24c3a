"""How much of an average is kept at each update, as a schedule of the progress of training.

Bricks (progress f32[] in [0, 1), *, ...) -> f32[] in [0, 1], for `maskmim.teachers.average`.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from maskmim.errors import UserError
from maskmim.types import Array


class MomentumError(UserError, ValueError):
    """A momentum that is no share, or a schedule that never ends."""


def constant(progress: Array, *, value: float) -> Array:
    """The same share always. Raises MomentumError unless it is in [0, 1]."""
    return jnp.full_like(jnp.asarray(progress, jnp.float32), _share("value", value))


def cosine(progress: Array, *, start: float, end: float = 1.0) -> Array:
    """From start to end along half a cosine over the whole training.

    Raises MomentumError unless both are in [0, 1].
    Source: BYOL (arXiv 2006.07733), from 0.996; DINO, iBOT and AttMask do the same.
    """
    first, last = _share("start", start), _share("end", end)
    falling = 0.5 * (1.0 + jnp.cos(math.pi * jnp.clip(progress, 0.0, 1.0)))
    return last - (last - first) * falling


def linear(progress: Array, *, start: float, end: float, until: float = 1.0) -> Array:
    """From start to end along a line that ends at the share `until` of the training, end after it.

    Raises MomentumError unless start and end are in [0, 1] and until is in (0, 1].
    Source: engine_pretrain.py of Haochen-Wang409/HPM, 0.999 to 0.9999 over the first 100 epochs,
    where it changes once an epoch; here it changes at every step.
    """
    if not 0 < until <= 1:
        raise MomentumError(f"until {until}: a share of the training, above 0 and at most 1")
    first, last = _share("start", start), _share("end", end)
    return first + (last - first) * jnp.clip(jnp.asarray(progress, jnp.float32) / until, 0.0, 1.0)


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise MomentumError(f"momentum {name} {value}: the share that is kept, from 0 to 1")
    return value
