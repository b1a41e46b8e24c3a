"""The largest batch that fits a memory, found with few looks at how much a batch takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


class Largest(NamedTuple):
    """batch: the largest that fits, 0 for none; used: its bytes; looks: {batch: bytes} seen."""

    batch: int
    used: float
    looks: dict[int, float]


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
            Asking is dear (a compilation), so the answer is guessed from a line through the two
            nearest looks and then looked at; done when the next multiple is known not to fit.
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
    while len(looks) < most_looks + len(known or {}):
        fits, fails = _bounds(looks, limit, unit)
        if fails - fits <= 1:
            break
        look(_guess(looks, limit, unit, fits, fails))
    best = _bounds(looks, limit, unit)[0] * unit
    return Largest(best, looks.get(best, 0.0), looks)


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
