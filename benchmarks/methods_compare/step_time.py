"""Time of a method's train step beside MAE's, data included, in CPU seconds.

  python -m benchmarks.methods_compare.step_time dbot

prints both, MAE's first. They take turns in one process, so that load affects both.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import jax

from maskmim.config.load import load
from maskmim.runtime.allocator import keep_freed_memory
from maskmim.train_loop import open_batches, place_on_mesh
from maskmim.training.build import assemble, init_sharded, jitted_step

CONFIG = "benchmarks/methods_compare/pretraining.py"
TURNS, STEPS = 4, 6


def make_step(method: str) -> Callable[[], None]:
    """Return a function that runs the next train step of a method and waits for it."""
    config = load(f"{CONFIG}:method={method}")
    records = assemble(config, 1_000).data.train()
    parts = assemble(config, len(records))
    step = jitted_step(config, parts)
    state, frozen = init_sharded(parts, 0)
    batches = open_batches(config, parts, records, 0)

    def run() -> None:
        nonlocal state
        state, metrics = step(state, frozen, place_on_mesh(next(batches), parts))
        jax.block_until_ready(metrics)

    return run


def cpu_seconds(steps: list[Callable[[], None]]) -> list[float]:
    """Return the mean CPU seconds of each step, all of which take turns."""
    taken = [0.0] * len(steps)
    for turn in range(TURNS + 1):
        for number, step in enumerate(steps):
            began = time.process_time()
            for _ in range(STEPS):
                step()
            if turn:  # the first one compiles
                taken[number] += time.process_time() - began
    return [seconds / (TURNS * STEPS) for seconds in taken]


if __name__ == "__main__":
    keep_freed_memory()
    print(*cpu_seconds([make_step("mae"), make_step(sys.argv[1])]))
