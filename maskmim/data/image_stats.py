"""Range, percentiles, mean and deviation of images, measured in one pass and in bounded memory.

Integers of up to 16 bits are counted value by value, so that everything said of them is exact. Of
other numbers, moments, least and largest are exact, and percentiles are within 0.1 %: they are
counted in bins by the leading bits of float32.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from maskmim.data.decode import read_stored
from maskmim.data.deep_images import Stored, check_finite
from maskmim.data.tiff_header import unread_pages

DROPPED = 14  # Bits of a float32 that do not choose its bin.
PRECISION = 2.0 ** (DROPPED - 23)  # Width of a bin, as a share of the values in it.


@dataclass
class Values:
    """What was counted of the values of C channels.

    counts: i64[C, bins] of finite values. count, mean, squares: f64[C] of finite values; squares
    is the sum of squared distances from the mean. low, high: f64[C]. lost: i64[C] values that are
    NaN, infinite or no data. above: i64[C] of them, those that are infinite and positive.
    kind: the type, 'uint16'.
    """

    kind: str
    counts: np.ndarray
    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray
    lost: np.ndarray
    above: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, absent: np.ndarray | None = None) -> Values:
        """Count the values of an image [H, W, C]; absent: bool[H, W, C], True for no data."""
        present = [... if absent is None else ~absent[..., c] for c in range(values.shape[-1])]
        parts = [_count(values[..., c], chosen) for c, chosen in enumerate(present)]
        return cls(values.dtype.name, *(np.stack(column) for column in zip(*parts, strict=True)))

    def add(self, other: Values) -> None:
        """Add the values of another image of the same type and channels."""
        self.counts += other.counts
        total = self.count + other.count
        share = np.divide(other.count, total, out=np.zeros_like(total), where=total > 0)
        with np.errstate(over="ignore", invalid="ignore"):  # numbers near the largest of float64
            away = other.mean - self.mean
            self.squares += other.squares + away**2 * self.count * share
            self.mean += away * share
        self.count, self.lost = total, self.lost + other.lost
        self.above = self.above + other.above
        self.low = np.minimum(self.low, other.low)
        self.high = np.maximum(self.high, other.high)

    def percentiles(self, shares: Sequence[float], channel: int | None = None) -> np.ndarray:
        """Return percentiles of a channel, or of all: the least value with that share below it."""
        counts = self.counts.sum(0) if channel is None else self.counts[channel]
        below = np.cumsum(counts)
        if not below[-1]:
            return np.full(len(shares), np.nan)
        ranks = np.ceil(np.asarray(shares) / 100 * below[-1] - 1e-9)
        places = np.searchsorted(below, np.maximum(ranks, 1))
        chosen = slice(None) if channel is None else channel
        found = _values_of_bins(self.kind)[places]
        return np.clip(found, self.low[chosen].min(), self.high[chosen].max())

    @property
    def is_exact(self) -> bool:
        """Whether each value has a bin of its own."""
        return _is_counted_exactly(self.kind)

    def bins(self, channel: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the values in the middle of a channel's filled bins, ascending, and their counts.

        The least and the largest are exact.
        """
        used = np.flatnonzero(self.counts[channel])
        values = np.clip(_values_of_bins(self.kind)[used], self.low[channel], self.high[channel])
        if len(values) > 1:
            values[0], values[-1] = self.low[channel], self.high[channel]
        return values, self.counts[channel, used]

    def moments(self, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and mean square f64[C] of the values scaled from (low, high) to [0, 1].

        As `decode.scaled` gives them: values outside are clipped, NaN and no data become 0.
        """
        count = np.maximum(self.count + self.lost, 1)
        if low <= self.low.min() and self.high.max() <= high and not self.is_exact:
            mean = np.where(self.count > 0, (self.mean - low) / (high - low), 0.0)
            square = self.squares / (high - low) ** 2 + mean**2 * self.count
            return (mean * self.count + self.above) / count, (square + self.above) / count
        levels = np.clip((_values_of_bins(self.kind) - low) / (high - low), 0, 1)
        used = self.counts.any(axis=0)
        counts, levels = self.counts[:, used].astype(np.float64), levels[used]
        return (counts @ levels + self.above) / count, (counts @ levels**2 + self.above) / count


@dataclass
class Measured:
    """What one image is: its values without alpha, (rows, columns), colours and whether grey.

    pages: of a file of which only the first is read, else 0. stack: whether it is a TIFF file of 8
    bits whose pages are counted as bands.
    """

    values: Values
    size: tuple[int, int]
    colours: int
    limits: tuple[float, float]
    grey: bool
    pages: int = 0
    stack: bool = False

    @property
    def group(self) -> tuple[str, int, int, tuple[float, float]]:
        """The images that it may be counted with: of the same type, channels and colours."""
        return self.values.kind, len(self.values.count), self.colours, self.limits


@dataclass
class Group:
    """The images of one type with the same channels."""

    values: Values
    images: int
    colours: int
    limits: tuple[float, float]

    @property
    def channels(self) -> int:
        """The number of channels without alpha."""
        return len(self.values.count)

    @property
    def is_deep(self) -> bool:
        """Whether a decoder needs a range for it: all types but 8 bits."""
        return self.values.kind != "uint8"


@dataclass
class ImageStats:
    """What is known of all images so far.

    sizes: {(rows, columns): images}. bad: (name, reason) of those that cannot be read. paged: files
    of several pages of which only the first is read. stacks: files of 8 bits with bands in pages.
    """

    groups: dict[tuple, Group] = field(default_factory=dict)
    sizes: dict[tuple[int, int], int] = field(default_factory=dict)
    grey: int = 0
    images: int = 0
    paged: int = 0
    stacks: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)

    def add(self, image: Measured) -> None:
        """Add an image."""
        self.images += 1
        self.grey += image.grey
        self.paged += image.pages > 0
        self.stacks += image.stack
        self.sizes[image.size] = self.sizes.get(image.size, 0) + 1
        if image.group in self.groups:
            group = self.groups[image.group]
            group.values.add(image.values)
            group.images += 1
        else:
            self.groups[image.group] = Group(image.values, 1, image.colours, image.limits)


def measure(encoded: bytes | np.ndarray) -> Measured:
    """Read one image and count its values. Raises BadImage and DataError as `read_stored`.

    Raises BadImage also where no value is finite, as the decoders do.
    """
    image = read_stored(encoded)
    check_finite(image)
    shown = slice(-1 if image.alpha else None)
    values = image.values[..., shown]
    counted = Values.of(values, None if image.absent is None else image.absent[..., shown])
    size = (int(values.shape[0]), int(values.shape[1]))
    pages, stack = 0, False
    if isinstance(encoded, bytes):
        pages = unread_pages(encoded, None)
        # Read with one channel, such a file is its first page.
        stack = values.dtype == np.uint8 and not image.colours and unread_pages(encoded, 1) > 0
    grey = _is_grey(image)
    return Measured(counted, size, image.colours, image.limits, grey, pages, stack)


def _is_grey(image: Stored) -> bool:
    """Return whether an image has one channel, or three that are equal everywhere."""
    values = image.values
    if image.colours != 3:
        return image.colours == 1
    return np.array_equal(values[..., 0], values[..., 1]) and np.array_equal(
        values[..., 0], values[..., 2]
    )


def _is_counted_exactly(kind: str) -> bool:
    dtype = np.dtype(kind)
    return dtype.kind in "iu" and dtype.itemsize <= 2


def _count(values: np.ndarray, chosen: Any) -> tuple[np.ndarray, ...]:
    """Return counts, count, mean, squares, low, high, lost and above of a channel [H, W].

    chosen: index of the pixels with data.
    """
    total = values.size
    values = values[chosen].ravel()
    above = np.int64(0)
    if values.dtype.kind == "f":
        above = np.int64(np.isposinf(values).sum())
        values = values[np.isfinite(values)]
    lost = np.int64(total - values.size)
    kind = values.dtype.name
    if _is_counted_exactly(kind):
        least = int(np.iinfo(kind).min)
        places = values.astype(np.int64) - least
    else:
        with np.errstate(over="ignore"):
            places = _bins(values.astype(np.float32))
    counts = np.bincount(places, minlength=len(_values_of_bins(kind)))
    if not values.size:
        return counts, np.float64(0), np.float64(0), np.float64(0), np.inf, -np.inf, lost, above
    exact = values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = exact.mean()
        squares = np.square(exact - mean).sum()
    count = np.float64(values.size)
    return counts, count, mean, squares, exact.min(), exact.max(), lost, above


def _bins(values: np.ndarray) -> np.ndarray:
    """Return the bins of values f32[n], in the order of the values."""
    raw = (values + np.float32(0)).view(np.uint32)  # adding makes of -0 a 0
    ordered = np.where(raw >> 31, ~raw, raw | np.uint32(1 << 31))
    return (ordered >> DROPPED).astype(np.int64)


@functools.cache
def _values_of_bins(kind: str) -> np.ndarray:
    """Return the value in the middle of each bin: f64[bins]."""
    if _is_counted_exactly(kind):
        limits = np.iinfo(kind)
        return np.arange(limits.min, limits.max + 1, dtype=np.float64)
    middle = np.arange(1 << (32 - DROPPED), dtype=np.uint32) << DROPPED
    zero = middle == np.uint32(1 << 31)
    middle = middle | np.uint32(1 << (DROPPED - 1))
    raw = np.where(middle >> 31, middle & np.uint32((1 << 31) - 1), ~middle)
    with np.errstate(invalid="ignore"):
        values = raw.view(np.float32).astype(np.float64)
    # Numbers of float64 beyond float32 lie in the bins of infinity.
    beyond = np.copysign(float(np.finfo(np.float32).max), values)
    return np.where(zero, 0.0, np.where(np.isfinite(values), values, beyond))
