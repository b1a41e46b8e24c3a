"""A linear warm-up and a cosine that ends early: the rates of CAPI and MSN, CAPI's momentum."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config.ranges import Fraction, FractionBelowOne, NonNegative, PositiveFraction
from maskmim.schedules.warmup import Schedule, Span, warmup_steps
from maskmim.types import Array


def warmup_truncated_cosine(
    progress: Array,
    *,
    warmup: FractionBelowOne,
    cut: PositiveFraction,
    start: Fraction = 0.0,
    final: Fraction = 0.0,
) -> Array:
    """Rise from `start` to 1 over the share `warmup` of the training, then fall along a cosine.

    progress: share of the training that is done, in [0, 1]. cut: the share of the cosine, which as
    a whole would end at `final`.
    Source: WarmupThenCosine of utils.py, facebookresearch/capi, whose rise ends one step earlier.
    """
    progress = jnp.asarray(progress, jnp.float32)
    after_warmup = jnp.clip((progress - warmup) / (1.0 - warmup), 0.0, 1.0)
    fall = 0.5 * (1.0 + jnp.cos(jnp.pi * cut * after_warmup))
    rise = progress / max(warmup, 1e-9)
    return jnp.where(progress < warmup, start + (1 - start) * rise, final + (1 - final) * fall)


def learning_rate(
    span: Span,
    *,
    warmup_epochs: NonNegative,
    cut: PositiveFraction = 0.8,
    start: Fraction = 0.0,
    final: Fraction = 0.0,
) -> Schedule:
    """Build the schedule `warmup_truncated_cosine`; a cut of 0.8 ends at 0.095 of the peak.

    start, final: shares of the peak, of the first step and where the whole cosine would end.
    Raises ScheduleError if the warm-up is longer than the training.
    """
    warmup = warmup_steps(span, warmup_epochs) / span.steps
    keywords = {"warmup": warmup, "cut": cut, "start": start, "final": final}
    return lambda step: warmup_truncated_cosine(step / span.steps, **keywords)


def momentum(
    progress: Array,
    *,
    least: Fraction = 0.999,
    warmup: FractionBelowOne = 0.1,
    cut: PositiveFraction = 0.8,
) -> Array:
    """Return the momentum of `teachers.average`: from 1 down to `least`, then back to nearly 1."""
    return 1.0 - (1.0 - least) * warmup_truncated_cosine(progress, warmup=warmup, cut=cut)
