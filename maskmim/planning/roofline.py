"""The roofline of a step: its least time, and images/s at a share of the peak (MFU)."""

from __future__ import annotations

from typing import NamedTuple

from maskmim.planning.chips import Chip

SHARES = (0.3, 0.4, 0.5)


class StepSeconds(NamedTuple):
    """Seconds that a chip's arithmetic, HBM and links each need for a step."""

    arithmetic: float
    memory: float
    links: float

    @property
    def least(self) -> float:
        """Return the time of a step if all three overlap fully."""
        return max(self)

    @property
    def most(self) -> float:
        """Return the time of a step if nothing overlaps."""
        return sum(self)

    @property
    def slowest(self) -> str:
        """Return the name of the slowest of the three."""
        return self._fields[self.index(max(self))]


class Speed(NamedTuple):
    """A step that runs the model's FLOPs at a share of the chips' peak (MFU).

    seconds: time of a step. images: images/s of all chips.
    """

    share: float
    seconds: float
    images: float


def step_seconds(chip: Chip, *, flops: float, hbm_bytes: float, link_seconds: float) -> StepSeconds:
    """Return the seconds of one chip, given its FLOPs, HBM bytes and seconds of collectives."""
    return StepSeconds(flops / chip.flops, hbm_bytes / chip.bandwidth, link_seconds)


def speed_at(share: float, chip: Chip, chips: int, *, flops: float, batch: int) -> Speed:
    """Return the speed of `chips` chips at a share of their peak; flops: of one image."""
    seconds = flops * batch / (share * chip.flops * chips)
    return Speed(share, seconds, batch / seconds)


def max_share(chip: Chip, chips: int, *, flops: float, batch: int, least: float) -> float:
    """Return the share of the peak (MFU) of a step that takes `least` seconds."""
    return flops * batch / (chip.flops * chips * least)
