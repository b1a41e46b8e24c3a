"""The largest batch that fits a memory, found with few looks at how much a batch takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


class Largest(NamedTuple):
    """The largest batch that fits.

    batch: 0 for none. looks: {batch: bytes} of all batches that were looked at.
    sure:  whether the next multiple is known not to fit; else looks were spent before.
    """

    batch: int
    looks: dict[int, float]
    sure: bool


def largest_batch(
    memory: Callable[[int], float],
    limit: float,
    *,
    unit: int,
    known: dict[int, float] | None = None,
    most_looks: int = 8,
) -> Largest:
    """The largest multiple of `unit` whose memory is at most `limit`.

    memory: batch -> bytes, growing with the batch; inf where it only knows that it is too much.
            Asking is dear (a compilation), so the answer is guessed from a line and looked at;
            where that leaves more than half of what is open, the next look is at the middle. Done
            when the next multiple is known not to fit.
    known:  looks that were taken already.
    """
    looks = dict(known or {})

    def look(units: int) -> float:
        if units * unit not in looks:
            looks[units * unit] = memory(units * unit)
        return looks[units * unit]

    start = max(looks, default=unit) // unit
    for units in (start, max(1, start // 2)):
        look(units)
    halve = False
    while len(looks) < most_looks + len(known or {}):
        fits, fails = _bounds(looks, limit, unit)
        if fails - fits <= 1:
            break
        look((fits + fails) // 2 if halve else _guess(looks, limit, unit, fits, fails))
        after = _bounds(looks, limit, unit)
        halve = math.isfinite(fails) and after[1] - after[0] > (fails - fits) / 2
    fits, fails = _bounds(looks, limit, unit)
    return Largest(fits * unit, looks, sure=fails - fits <= 1)


def _bounds(looks: dict[int, float], limit: float, unit: int) -> tuple[int, float]:
    """(most units known to fit, fewest units known not to)."""
    fits = max((b // unit for b, used in looks.items() if used <= limit), default=0)
    fails = min((b // unit for b, used in looks.items() if used > limit), default=math.inf)
    return fits, fails


def _guess(looks: dict[int, float], limit: float, unit: int, fits: int, fails: float) -> int:
    """The next units to look at, strictly between `fits` and `fails`."""
    known = sorted((b, used) for b, used in looks.items() if math.isfinite(used))
    known = sorted(sorted(known, key=lambda look: abs(look[1] - limit))[:2])
    guess = fits * 2 if math.isinf(fails) else (fits + fails) // 2
    if len(known) == 2 and known[1][1] > known[0][1]:
        (small, low), (large, high) = known
        guess = math.floor((small + (limit - low) * (large - small) / (high - low)) / unit)
        if guess == fits:
            guess = fits + 1
    return int(min(max(guess, fits + 1), fails - 1))
