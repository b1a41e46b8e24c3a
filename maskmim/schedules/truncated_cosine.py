"""A linear rise and a cosine that ends early: learning rates and momenta of CAPI."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.schedules.warmup import Schedule, Span, warmup_steps
from maskmim.types import Array


def height(progress: Array, *, warmup: float, cut: float) -> Array:
    """From 0 to 1 over the share `warmup` of the training, then down the share `cut` of a cosine.

    Source: WarmupThenCosine of utils.py, facebookresearch/capi, whose rise ends one step earlier.
    """
    position = jnp.asarray(progress, jnp.float32)
    fallen = jnp.clip((position - warmup) / (1.0 - warmup), 0.0, 1.0)
    fall = 0.5 * (1.0 + jnp.cos(jnp.pi * cut * fallen))
    return jnp.where(position < warmup, position / max(warmup, 1e-9), fall)


def learning_rate(span: Span, *, warmup_epochs: float, cut: float = 0.8) -> Schedule:
    """Schedule brick: `height` at each step; with a cut of 0.8 it ends at 0.095 of the peak.

    Raises ScheduleError where the warm-up is longer than the training.
    """
    warmup = warmup_steps(span, warmup_epochs) / span.steps
    return lambda step: height(step / span.steps, warmup=warmup, cut=cut)


def momentum(
    progress: Array, *, least: float = 0.999, warmup: float = 0.1, cut: float = 0.8
) -> Array:
    """Momentum brick for `teachers.average`: 1 - (1 - least) * height, so 1, `least`, nearly 1."""
    return 1.0 - (1.0 - least) * height(progress, warmup=warmup, cut=cut)
