"""Schedules of the momentum of an average (EMA): the share of it that each update keeps.

Bricks (progress f32[] in [0, 1), *, ...) -> f32[] in [0, 1], for `maskmim.teachers.average`.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from maskmim.config.ranges import Fraction, PositiveFraction
from maskmim.errors import UserError
from maskmim.types import Array


class MomentumError(UserError, ValueError):
    """A momentum outside [0, 1], or a schedule with an invalid end."""


def constant(progress: Array, *, value: Fraction) -> Array:
    """Return the same momentum at every step.

    Raises MomentumError unless value is in [0, 1].
    """
    return jnp.full_like(jnp.asarray(progress, jnp.float32), _checked("value", value))


def cosine(progress: Array, *, start: Fraction, end: Fraction = 1.0) -> Array:
    """Move from start to end along half a cosine over the whole training.

    Raises MomentumError unless both are in [0, 1].
    Source: BYOL (arXiv 2006.07733), from 0.996; DINO, iBOT and AttMask do the same.
    """
    first, last = _checked("start", start), _checked("end", end)
    falling = 0.5 * (1.0 + jnp.cos(math.pi * jnp.clip(progress, 0.0, 1.0)))
    return last - (last - first) * falling


def linear(
    progress: Array, *, start: Fraction, end: Fraction, until: PositiveFraction = 1.0
) -> Array:
    """Move from start to end along a line, then stay at end.

    until: share of the training at which the line ends.
    Raises MomentumError unless start and end are in [0, 1] and until is in (0, 1].
    Source: engine_pretrain.py of Haochen-Wang409/HPM, 0.999 to 0.9999 over the first 100 epochs.
    Difference: changes at every step; the official code changes it once an epoch.
    """
    if not 0 < until <= 1:
        raise MomentumError(f"until {until}: a share of the training, above 0 and at most 1")
    first, last = _checked("start", start), _checked("end", end)
    return first + (last - first) * jnp.clip(jnp.asarray(progress, jnp.float32) / until, 0.0, 1.0)


def _checked(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise MomentumError(f"momentum {name} {value}: give a share from 0 to 1")
    return value
