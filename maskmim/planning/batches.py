"""The search for the largest batch that fits a memory, with few compilations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


class LargestBatch(NamedTuple):
    """The largest batch that fits.

    batch: 0 where none fits. too_large: the smallest that is known not to fit, inf where none is.
    tried: {batch: bytes} of all batches that were tried.
    """

    batch: int
    too_large: float
    tried: dict[int, float]


def largest_batch(
    memory: Callable[[int], float],
    limit: float,
    *,
    unit: int,
    floor: float,
    known: dict[int, float] | None = None,
    precision: float = 0.0,
    max_trials: int = 8,
) -> LargestBatch:
    """Return the largest multiple of `unit` whose memory is at most `limit`.

    memory: batch -> bytes, growing with the batch; inf where only "too large" is known. A call is
            expensive (a compilation, minutes where the batch fits, seconds where it does not), so
            the next batch to try is interpolated linearly; where that leaves more than half of the
            open range, the next trial halves it.
    floor:  bytes in use whatever the batch: the line starts there.
    known:  trials that were made before, {batch: bytes}.
    precision: share of the batch; the search ends where no more lies between it and one that is
            known not to fit. 0 for the next multiple.
    """
    tried = dict(known or {})
    halve = False
    while len(tried) < max_trials + len(known or {}):
        fits, fails = _bounds(tried, limit, unit)
        if fails - fits <= max(1, precision * fits):
            break
        line = {0: floor} | tried
        units = (fits + fails) // 2 if halve else _guess(line, limit, unit, fits, fails)
        if fits and not halve:  # what fits takes long to compile: the next one may fail
            units = max(units, min(fits + max(1, math.floor(precision * fits)), fails - 1))
        tried[int(units) * unit] = memory(int(units) * unit)
        after = _bounds(tried, limit, unit)
        halve = math.isfinite(fails) and after[1] - after[0] > (fails - fits) / 2
    fits, fails = _bounds(tried, limit, unit)
    return LargestBatch(fits * unit, fails * unit, tried)


def _bounds(tried: dict[int, float], limit: float, unit: int) -> tuple[int, float]:
    """Return (most units known to fit, fewest units known not to)."""
    fits = max((b // unit for b, used in tried.items() if used <= limit), default=0)
    fails = min((b // unit for b, used in tried.items() if used > limit), default=math.inf)
    return fits, fails


def _guess(line: dict[int, float], limit: float, unit: int, fits: int, fails: float) -> int:
    """Return the next units to try, strictly between `fits` and `fails`."""
    known = sorted((b, used) for b, used in line.items() if math.isfinite(used))
    known = sorted(sorted(known, key=lambda trial: abs(trial[1] - limit))[:2])
    guess = max(1, fits * 2) if math.isinf(fails) else (fits + fails) // 2
    if len(known) == 2 and known[1][1] > known[0][1]:
        (small, low), (large, high) = known
        guess = math.floor((small + (limit - low) * (large - small) / (high - low)) / unit)
        if guess == fits:
            guess = fits + 1
    return int(min(max(guess, fits + 1), fails - 1))
