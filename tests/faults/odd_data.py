"""Faulty data as bricks: float32 pictures, some of them NaN, and reads that block."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from maskmim.data.records import Example, manifest_digest


class Numbers:
    """Random float32 pictures [32, 32, 3], each a function of its index.

    poisoned: indices of pictures with NaN. blocked: reads wait while a file of that name exists.
    """

    labels: dict = {}  # noqa: RUF012

    def __init__(self, *, count: int = 64, poisoned: tuple[int, ...] = (), blocked: str = ""):
        self.count, self.poisoned, self.blocked = count, frozenset(poisoned), blocked
        self.fingerprint = manifest_digest((self.name(index), 1) for index in range(count))

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        while self.blocked and Path(self.blocked).exists():
            time.sleep(0.05)
        picture = np.random.default_rng(index).normal(size=(32, 32, 3)).astype(np.float32)
        if index in self.poisoned:
            picture[0, 0] = np.nan
        return Example(picture, {})

    def name(self, index):
        return f"picture {index}"


def numbers(*, count: int = 64, poisoned: tuple[int, ...] = (), blocked: str = "") -> Numbers:
    """Return the pictures; a data source brick."""
    return Numbers(count=count, poisoned=poisoned, blocked=blocked)


def as_stored(rng, encoded, *, channels=3):
    """Return the array unchanged; a decoder brick."""
    return encoded


def as_it_is(rng, array, *, size=(32, 32)):
    """Return the array unchanged; an augmentation brick."""
    return array
