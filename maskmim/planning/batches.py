"""The search for the largest batch that fits a memory, with few compilations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


class LargestBatch(NamedTuple):
    """The largest batch that fits.

    batch: 0 where none fits. tried: {batch: bytes} of all batches that were tried.
    sure:  whether the next multiple is known not to fit; False where the trials ran out before.
    """

    batch: int
    tried: dict[int, float]
    sure: bool


def largest_batch(
    memory: Callable[[int], float],
    limit: float,
    *,
    unit: int,
    known: dict[int, float] | None = None,
    max_trials: int = 8,
) -> LargestBatch:
    """Return the largest multiple of `unit` whose memory is at most `limit`.

    memory: batch -> bytes, growing with the batch; inf where only "too large" is known. A call is
            expensive (a compilation), so the next batch to try is interpolated linearly; where that
            leaves more than half of the open range, the next trial halves it. The search ends when
            the next multiple is known not to fit.
    known:  trials that were made before, {batch: bytes}.
    """
    tried = dict(known or {})

    def try_units(units: int) -> float:
        if units * unit not in tried:
            tried[units * unit] = memory(units * unit)
        return tried[units * unit]

    start = max(tried, default=unit) // unit
    for units in (start, max(1, start // 2)):
        try_units(units)
    halve = False
    while len(tried) < max_trials + len(known or {}):
        fits, fails = _bounds(tried, limit, unit)
        if fails - fits <= 1:
            break
        try_units((fits + fails) // 2 if halve else _guess(tried, limit, unit, fits, fails))
        after = _bounds(tried, limit, unit)
        halve = math.isfinite(fails) and after[1] - after[0] > (fails - fits) / 2
    fits, fails = _bounds(tried, limit, unit)
    return LargestBatch(fits * unit, tried, sure=fails - fits <= 1)


def _bounds(tried: dict[int, float], limit: float, unit: int) -> tuple[int, float]:
    """Return (most units known to fit, fewest units known not to)."""
    fits = max((b // unit for b, used in tried.items() if used <= limit), default=0)
    fails = min((b // unit for b, used in tried.items() if used > limit), default=math.inf)
    return fits, fails


def _guess(tried: dict[int, float], limit: float, unit: int, fits: int, fails: float) -> int:
    """Return the next units to try, strictly between `fits` and `fails`."""
    known = sorted((b, used) for b, used in tried.items() if math.isfinite(used))
    known = sorted(sorted(known, key=lambda trial: abs(trial[1] - limit))[:2])
    guess = fits * 2 if math.isinf(fails) else (fits + fails) // 2
    if len(known) == 2 and known[1][1] > known[0][1]:
        (small, low), (large, high) = known
        guess = math.floor((small + (limit - low) * (large - small) / (high - low)) / unit)
        if guess == fits:
            guess = fits + 1
    return int(min(max(guess, fits + 1), fails - 1))
