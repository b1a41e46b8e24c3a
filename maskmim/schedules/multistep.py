"""A learning rate that drops at given epochs, as a schedule brick."""

from __future__ import annotations

import optax

from maskmim.config.ranges import Fraction, NonNegative, PositiveFraction
from maskmim.schedules.warmup import Schedule, ScheduleError, Span, warmup_steps


def warmup_multistep(
    span: Span,
    *,
    warmup_epochs: NonNegative,
    drops: tuple[NonNegative, ...],
    factor: PositiveFraction = 0.1,
    start: Fraction = 0.0,
) -> Schedule:
    """Rise linearly to the peak, then multiply by `factor` at each epoch of `drops`.

    drops: epochs, fractions allowed, ascending. start: share of the peak at the first step.
    Raises ScheduleError if the warm-up is longer than the training, or ends after a drop.
    Source: MultiStepLRScheduler of lr_scheduler.py, microsoft/SimMIM.
    """
    warmup = warmup_steps(span, warmup_epochs)
    drop_steps = [round(drop * span.per_epoch) for drop in drops]
    if drop_steps != sorted(drop_steps) or any(step < warmup for step in drop_steps):
        raise ScheduleError(
            f"schedule.drops = {drops} must ascend and come after the warm-up of {warmup_epochs} "
            "epochs"
        )
    rise = optax.linear_schedule(start, 1.0, warmup)
    levels = [optax.constant_schedule(factor**dropped) for dropped in range(len(drop_steps) + 1)]
    return optax.join_schedules([rise, *levels], [warmup, *drop_steps])
