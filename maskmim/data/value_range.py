"""The range of values that a set of images needs, and marks for no data among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from maskmim.data.image_stats import PRECISION, Group, Values

OUTLIERS = 4.0  # A range this many times the inner one is that of a few pixels.
INNER = (0.1, 99.9)  # Percentiles that bound the inner range.
MARK_SHARE = 0.001  # A mark for no data is more than this share of the values.
DIGITS = 5  # Of the width of a range.


def value_range(groups: Sequence[Group]) -> tuple[float, float]:
    """Return the range of deep images: least to largest, or the inner percentiles beside outliers.

    Outliers are taken for such where the whole range is OUTLIERS times the inner one. What seems to
    be a mark for no data (`likely_marks`) is left out. Real numbers are rounded outwards, to DIGITS
    digits of the width of the range.
    """
    parts = [ends_and_inner(group.values) for group in groups]
    low = min(part[0] for part in parts)
    high = max(part[1] for part in parts)
    least = min(part[2] for part in parts)
    most = max(part[3] for part in parts)
    if high - low > OUTLIERS * (most - least) > 0:
        low, high = least, most
    if not low < high:
        return low, low + max(1.0, abs(low) * 1e-6)
    whole = all(np.dtype(group.values.kind).kind in "iu" for group in groups)
    return (math.floor(low), math.ceil(high)) if whole else _outwards(low, high)


def likely_marks(values: Values) -> dict[float, float]:
    """Return {value: largest share of a channel} of what seems to stand for no data; see below."""
    marks: dict[float, float] = {}
    for channel in range(len(values.count)):
        for mark, share in marks_among(*values.bins(channel)).items():
            marks[mark] = max(share, marks.get(mark, 0.0))
    return marks


def marks_among(values: np.ndarray, counts: np.ndarray) -> dict[float, float]:
    """Return {value: share} of the values that seem to stand for no data.

    The least and the largest do where they are more than MARK_SHARE of all and farther from the
    next value than the inner range of the values between them is wide.
    values: of one channel, ascending. counts: of each.
    """
    if len(values) < 4:  # As in masks of few classes.
        return {}
    least, most = _percentiles(values[1:-1], counts[1:-1])
    marks = {}
    for place, following in ((0, 1), (-1, -2)):
        share = float(counts[place] / counts.sum())
        if share > MARK_SHARE and abs(values[following] - values[place]) > most - least > 0:
            marks[float(values[place])] = share
    return marks


def shown_numbers(values: Iterable[float], width: float) -> list[str]:
    """Return numbers as text, with DIGITS digits of a width, so that it tells them apart."""
    return [_shown(value, width) for value in values]


def _shown(value: float, width: float) -> str:
    if not math.isfinite(value) or not width > 0:
        return f"{value:.5g}"
    digits = DIGITS + max(0, _magnitude(value) - _magnitude(width))
    return f"{value:.{min(max(digits, DIGITS), 17)}g}"


def _magnitude(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else -300


def ends_and_inner(values: Values) -> tuple[float, float, float, float]:
    """Return least and largest value and the INNER percentiles, all without marks for no data."""
    parts, low, high = [], np.inf, -np.inf
    slack = 0.0 if values.is_exact else PRECISION / 2
    for channel in range(len(values.count)):
        found, counts = values.bins(channel)
        marks = marks_among(found, counts)
        if not len(found):
            continue
        least, most = values.low[channel], values.high[channel]
        if least in marks:
            found, counts = found[1:], counts[1:]
            least = _next(found[0] - slack * abs(found[0]), values.kind, math.ceil)
        if most in marks:
            found, counts = found[:-1], counts[:-1]
            most = _next(found[-1] + slack * abs(found[-1]), values.kind, math.floor)
        low, high = min(low, float(least)), max(high, float(most))
        parts.append(np.stack([found, counts]))
    found, counts = np.concatenate(parts, axis=1)
    order = np.argsort(found, kind="stable")
    return low, high, *_percentiles(found[order], counts[order])


def _next(end: float, kind: str, inwards: Callable[[float], int]) -> float:
    """Return the end of a bin, for integers the next whole number in the bin."""
    return float(inwards(end)) if np.dtype(kind).kind in "iu" else end


def _percentiles(values: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Return the INNER percentiles of values, ascending, with their counts."""
    below = np.cumsum(counts)
    ranks = np.maximum(np.ceil(np.array(INNER) / 100 * below[-1] - 1e-9), 1)
    low, high = values[np.searchsorted(below, ranks)]
    return float(low), float(high)


def _outwards(low: float, high: float) -> tuple[float, float]:
    """Return a range that holds another, with DIGITS digits of its width."""
    width = high - low
    step = 10.0 ** (_magnitude(width) - DIGITS + 1)
    below = float(_shown(math.floor(low / step) * step, width))
    above = float(_shown(math.ceil(high / step) * step, width))
    return min(low, below), max(high, above)
