"""A linear warm-up and a cosine that ends early: the learning rate and the momentum of CAPI."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config.ranges import Fraction, FractionBelowOne, NonNegative, PositiveFraction
from maskmim.schedules.warmup import Schedule, Span, warmup_steps
from maskmim.types import Array


def warmup_truncated_cosine(
    progress: Array, *, warmup: FractionBelowOne, cut: PositiveFraction
) -> Array:
    """Rise from 0 to 1 over the share `warmup` of the training, then fall along part of a cosine.

    progress: share of the training that is done, in [0, 1]. cut: the share of the cosine.
    Source: WarmupThenCosine of utils.py, facebookresearch/capi, whose rise ends one step earlier.
    """
    progress = jnp.asarray(progress, jnp.float32)
    after_warmup = jnp.clip((progress - warmup) / (1.0 - warmup), 0.0, 1.0)
    fall = 0.5 * (1.0 + jnp.cos(jnp.pi * cut * after_warmup))
    return jnp.where(progress < warmup, progress / max(warmup, 1e-9), fall)


def learning_rate(
    span: Span, *, warmup_epochs: NonNegative, cut: PositiveFraction = 0.8
) -> Schedule:
    """Build the schedule `warmup_truncated_cosine`; a cut of 0.8 ends at 0.095 of the peak.

    Raises ScheduleError if the warm-up is longer than the training.
    """
    warmup = warmup_steps(span, warmup_epochs) / span.steps
    return lambda step: warmup_truncated_cosine(step / span.steps, warmup=warmup, cut=cut)


def momentum(
    progress: Array,
    *,
    least: Fraction = 0.999,
    warmup: FractionBelowOne = 0.1,
    cut: PositiveFraction = 0.8,
) -> Array:
    """Return the momentum of `teachers.average`: from 1 down to `least`, then back to nearly 1."""
    return 1.0 - (1.0 - least) * warmup_truncated_cosine(progress, warmup=warmup, cut=cut)
