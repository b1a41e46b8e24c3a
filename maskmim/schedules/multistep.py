"""Learning rates that fall in steps, as schedule bricks beside those of maskmim.schedules."""

from __future__ import annotations

import optax

from maskmim.schedules.warmup import Schedule, ScheduleError, Span, warmup_steps


def warmup_multistep(
    span: Span,
    *,
    warmup_epochs: float,
    drops: tuple[float, ...],
    factor: float = 0.1,
    start: float = 0.0,
) -> Schedule:
    """Linear warm-up, then the peak, multiplied by `factor` at each of the given epochs.

    drops: epochs, fractions allowed, ascending. start: share of the peak at the first step.
    Raises ScheduleError where the warm-up is longer than the training, or ends after a drop.
    Source: MultiStepLRScheduler of lr_scheduler.py, microsoft/SimMIM.
    """
    warmup = warmup_steps(span, warmup_epochs)
    places = [round(drop * span.per_epoch) for drop in drops]
    if places != sorted(places) or any(place < warmup for place in places):
        raise ScheduleError(
            f"schedule.drops = {drops} must ascend and come after the warm-up of {warmup_epochs} "
            "epochs"
        )
    rise = optax.linear_schedule(start, 1.0, warmup)
    levels = [optax.constant_schedule(factor**fallen) for fallen in range(len(places) + 1)]
    return optax.join_schedules([rise, *levels], [warmup, *places])
