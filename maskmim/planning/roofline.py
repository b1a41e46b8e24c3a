"""How long a step takes at least, and how many images/s a share of the peak gives: arithmetic."""

from __future__ import annotations

from typing import NamedTuple

from maskmim.planning.chips import Chip

SHARES = (0.3, 0.4, 0.5)


class Seconds(NamedTuple):
    """Seconds of a step that a chip's arithmetic, its HBM and its links need, each by itself."""

    arithmetic: float
    memory: float
    links: float

    @property
    def least(self) -> float:
        """If all three worked at the same time, all the time."""
        return max(self)

    @property
    def most(self) -> float:
        """If they worked one after another."""
        return sum(self)

    @property
    def slowest(self) -> str:
        """Which of the three needs longest."""
        return self._fields[self.index(max(self))]


class Speed(NamedTuple):
    """A step in which the model's FLOPs are done at a share of the chips' peak (MFU).

    seconds: of a step; images: a second, of all chips; possible: not faster than `Seconds.least`.
    """

    share: float
    seconds: float
    images: float
    possible: bool


def seconds(chip: Chip, *, flops: float, hbm_bytes: float, link_seconds: float) -> Seconds:
    """Of one chip: its FLOPs, its HBM bytes, and the seconds of its collectives."""
    return Seconds(flops / chip.flops, hbm_bytes / chip.bandwidth, link_seconds)


def speed(share: float, chip: Chip, chips: int, *, flops: float, batch: int, least: float) -> Speed:
    """Of `chips` that do so many FLOPs for each of `batch` images at a share of their peak.

    least: seconds that a step needs in any case, see `Seconds.least`.
    """
    taken = flops * batch / (share * chip.flops * chips)
    return Speed(share, taken, batch / taken, taken >= least * (1 - 1e-9))


def share_at_most(chip: Chip, chips: int, *, flops: float, batch: int, least: float) -> float:
    """The share of the peak (MFU) of a step that takes `least` seconds."""
    return flops * batch / (chip.flops * chips * least)
