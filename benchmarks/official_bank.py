"""ColorMAE's official bank procedure, reimplemented in torch as a peer in benchmarks.masks."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from maskmim.types import Array

Clock = Callable[[], float]


def peer_clock(grid: tuple[int, int], batch: int, patterns: Array, ratio: float) -> Clock:
    """Return a clock of one batch of masks by the official procedure, on a GPU if torch has one.

    The procedure is one crop and two flips of all patterns, each divided by its maximum, a sort, a
    second sort to invert it, and a gather.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    noise = torch.from_numpy(np.array(patterns)).to(device)
    rows, columns = grid
    keep = int(rows * columns * (1 - ratio))

    def windows() -> torch.Tensor:
        top = int(torch.randint(noise.shape[1] - rows + 1, ()))
        left = int(torch.randint(noise.shape[2] - columns + 1, ()))
        cut = noise[:, top : top + rows, left : left + columns]
        cut = cut.flip(-1) if torch.rand(()) < 0.5 else cut
        cut = cut.flip(-2) if torch.rand(()) < 0.5 else cut
        return cut / cut.amax((1, 2), keepdim=True)

    def run() -> float:
        start = time.perf_counter()
        parts = [windows() for _ in range(-(-batch // len(noise)))]
        scores = torch.cat(parts)[:batch].reshape(batch, -1)
        order = torch.argsort(scores, dim=1, descending=True)
        mask = torch.ones_like(scores)
        mask[:, :keep] = 0
        mask.gather(1, torch.argsort(order, dim=1))
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return run
