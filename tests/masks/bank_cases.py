"""1,000 random cases of ColorMAE's bank procedure, and maskmim's results for them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from maskmim.masks.bank import bank_masks, bank_windows

# (patterns, bank size, window, batch, ratio): batches below, at and above the number of patterns.
SHAPES = (
    (6, 64, 14, 4, 0.75),
    (5, 20, 14, 13, 0.75),
    (4, 14, 14, 4, 0.75),
    (3, 40, 14, 8, 0.5),
    (8, 32, 12, 5, 0.75),
    (2, 24, 8, 7, 0.5),
    (1, 30, 16, 3, 0.75),
    (7, 17, 10, 7, 0.6),
    (4, 33, 16, 9, 0.875),
    (5, 28, 4, 6, 0.75),
)
PER_SHAPE = 100


class Case(NamedTuple):
    """Noise f32[L, M, M] and the decisions (top, left, flip across, flip down) of each chunk."""

    bank: np.ndarray
    width: int
    batch: int
    ratio: float
    turns: tuple[tuple[int, int, bool, bool], ...]

    @property
    def per_image(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the same decisions per image: slices [B], offsets [B, 2], flips [B, 2]."""
        turn, slices = np.divmod(np.arange(self.batch), len(self.bank))
        decisions = np.array(self.turns)[turn]
        offsets, flips = decisions[:, :2].astype(np.int32), decisions[:, 2:].astype(bool)
        return slices.astype(np.int32), offsets, flips

    @property
    def has_negative_window(self) -> bool:
        """Return whether the division reverses the order of a window."""
        slices, offsets, _ = self.per_image
        size = self.width
        windows = (
            self.bank[place, top : top + size, left : left + size]
            for place, (top, left) in zip(slices, offsets, strict=True)
        )
        return any(window.max() < 0 for window in windows)


def make_case(number: int) -> Case:
    """Make case `number` of the 1,000; the noise of every third is mostly below zero."""
    random = np.random.RandomState(number)
    patterns, size, width, batch, ratio = SHAPES[number // PER_SHAPE]
    bank = random.standard_normal((patterns, size, size))
    bank = (bank - (3.0 if number % 3 == 0 else 0.0)).astype(np.float32)
    room = size - width + 1
    turns = tuple(
        (int(random.randint(room)), int(random.randint(room)), bool(random.randint(2)), bool(flip))
        for flip in random.randint(2, size=-(-batch // patterns))
    )
    return Case(bank, width, batch, ratio, turns)


def all_cases() -> Iterator[Case]:
    """Yield all 1,000 cases."""
    return (make_case(number) for number in range(len(SHAPES) * PER_SHAPE))


@functools.partial(jax.jit, static_argnames=("width", "ratio"))
def _ours(bank, slices, offsets, flips, *, width, ratio):
    grid = (width, width)
    windows = bank_windows(bank, slices, offsets, flips, grid=grid)
    return windows, bank_masks(bank, slices, offsets, flips, grid=grid, ratio=ratio)


def ours(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return maskmim's windows f32[B, W, W], hidden bool[B, N] and visible i32[B, K].

    The visible tokens are sorted, strongest first.
    """
    windows, mask = _ours(case.bank, *case.per_image, width=case.width, ratio=case.ratio)
    windows, visible = np.asarray(windows), np.asarray(mask.visible)
    scores = np.take_along_axis(windows.reshape(len(windows), -1), visible, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return windows, np.asarray(mask.hidden), np.take_along_axis(visible, order, axis=1)
