"""Time of a method's train step, its data included, in CPU seconds.

  python -m benchmarks.methods_compare.step_time dbot

prints it. Run in a process of its own, as training is.
"""

from __future__ import annotations

import itertools
import sys
import time

import jax

from maskmim.config.load import load
from maskmim.runtime.allocator import keep_freed_memory
from maskmim.train_loop import open_batches, place_on_mesh
from maskmim.training.build import assemble, init_sharded, jitted_step

CONFIG = "benchmarks/methods_compare/pretraining.py"
WARM, TIMED = 4, 24


def cpu_seconds(method: str) -> float:
    """Return the CPU seconds of a step: the mean of some, after some that do not count."""
    config = load(f"{CONFIG}:method={method}")
    records = assemble(config, 1_000).data.train()
    parts = assemble(config, len(records))
    step = jitted_step(config, parts)
    state, frozen = init_sharded(parts, 0)
    began = 0.0
    batches = itertools.islice(open_batches(config, parts, records, 0), WARM + TIMED)
    for number, batch in enumerate(batches):
        if number == WARM:
            began = time.process_time()
        state, metrics = step(state, frozen, place_on_mesh(batch, parts))
        jax.block_until_ready(metrics)
    return (time.process_time() - began) / TIMED


if __name__ == "__main__":
    keep_freed_memory()
    print(cpu_seconds(sys.argv[1]))
