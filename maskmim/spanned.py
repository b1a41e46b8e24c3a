"""Learning-rate schedules that tell an optimiser how long the training is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from maskmim.schedules import Schedule, Span
from maskmim.types import Array


class Spanned(NamedTuple):
    """A schedule, step -> factor of the peak rate, and the span that it is made for."""

    span: Span
    rate: Schedule

    def __call__(self, step: Array) -> Array:
        """The factor at a step."""
        return self.rate(step)


def spanned(span: Span, *, rate: Callable[[Span], Schedule]) -> Spanned:
    """Schedule brick: another schedule, for optimisers that change more than the rate over time.

    rate: brick of `maskmim.schedules`.
    """
    return Spanned(span, rate(span))
