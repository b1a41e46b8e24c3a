"""Learning-rate schedules as bricks: the factor in [0, 1] that multiplies the peak rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import optax

from maskmim.config.ranges import Fraction, NonNegative, Positive
from maskmim.errors import UserError
from maskmim.types import Array

Schedule = Callable[[Array], Array]


class ScheduleError(UserError, ValueError):
    """A schedule that does not fit the length of the training."""


class Span(NamedTuple):
    """The length of a training: its number of steps, and steps per epoch (a fraction)."""

    steps: int
    per_epoch: float


class Timed(NamedTuple):
    """A schedule and the span that it is made for, as optimisers get them.

    It is called like the schedule; DINO's optimiser also needs the span, for its weight decay.
    """

    span: Span
    factor: Schedule

    def __call__(self, step: Array) -> Array:
        """Return the factor of the peak learning rate at a step."""
        return self.factor(jnp.asarray(step, jnp.float32))


def warmup_cosine(
    span: Span,
    *,
    warmup_epochs: NonNegative,
    final: Fraction = 0.0,
    initial: Fraction = 0.0,
    stretch: Positive = 1.0,
) -> Schedule:
    """Rise linearly to the peak, then fall along half a cosine to `final` of the peak.

    initial: the share of the peak at which the rise begins.
    stretch: the schedule is made for a training so many times as long, whose end is not reached.

    Source: MAE's adjust_learning_rate (util/lr_sched.py), evaluated at fractional epochs.
    Raises ScheduleError if the warm-up is longer than the training.
    """
    warmup = warmup_steps(span, warmup_epochs)
    steps = max(round(span.steps * stretch), 1)
    return optax.warmup_cosine_decay_schedule(initial, 1.0, warmup, steps, final)


def warmup_constant(span: Span, *, warmup_epochs: NonNegative) -> Schedule:
    """Rise linearly from 0 to the peak and stay there.

    Raises ScheduleError if the warm-up is longer than the training.
    """
    warmup = warmup_steps(span, warmup_epochs)
    if not warmup:  # optax's schedule with a warm-up of 0 steps stays at 0
        return optax.constant_schedule(1.0)
    return optax.warmup_constant_schedule(0.0, 1.0, warmup)


def warmup_steps(span: Span, warmup_epochs: float) -> int:
    """Return the warm-up in steps; raise ScheduleError unless it ends before the training does."""
    warmup = round(warmup_epochs * span.per_epoch)
    if not 0 <= warmup < span.steps:
        raise ScheduleError(
            f"schedule.warmup_epochs = {warmup_epochs} is {warmup} steps, but the training has "
            f"{span.steps}: shorten the warm-up or train for more epochs"
        )
    return warmup
