"""The cost of a checkpoint: wait of the training, memory, time to disk, and reading it back.

  python -m benchmarks.checkpoint                                      (ViT-B, 1.3 GB of state)
  python -m benchmarks.checkpoint --config configs/mae.py:variant=L/16 --images-per-second 900

`wait` is how long a save blocks the training, which continues while the rest is written. Its share
of the time between two saves depends on the speed of the training: `share` assumes
--images-per-second and the config's epoch and checkpoint interval; the last line is the shortest
interval for a share of 2 %. `peak` is the peak memory of the process above that before the state
existed, divided by the size of the state (of params alone where only they are read). Each part runs
in a separate process. On a CPU, device arrays are host memory; with an accelerator the host holds a
copy while it writes.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
from jax.sharding import SingleDeviceSharding

from maskmim.checkpoints.reader import attach_shardings, restore_newest
from maskmim.checkpoints.writer import Checkpoints
from maskmim.config.load import load
from maskmim.config.serialize import to_json
from maskmim.imagenet import TRAIN_IMAGES
from maskmim.training.build import assemble, init_sharded
from maskmim.types import Tree


def memory(name: str) -> int:
    """Return the memory of this process in bytes: 'VmRSS' now, 'VmHWM' its peak since `reset`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def reset() -> int:
    """Reset the peak memory of this process, and return the memory used now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def size(tree: Tree) -> int:
    """Return the bytes of the arrays of a tree."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def save(options: argparse.Namespace) -> None:
    """Time saves of the state, with updates between them that reuse its memory."""
    config = load(options.config)
    parts = assemble(config, TRAIN_IMAGES)
    before = reset()
    state, _ = init_sharded(parts, 0)
    advance = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    state = jax.block_until_ready(advance(state))
    held, total = memory("VmRSS") - before, size(state)
    reset()
    checkpoints = Checkpoints(Path(options.workdir))
    waits, totals = [], []
    for step in range(1, options.saves + 1):
        began = time.perf_counter()
        checkpoints.save(step, state, {"step": step}, to_json(config))
        waits.append(time.perf_counter() - began)
        state = jax.block_until_ready(advance(state))
        checkpoints.wait()
        totals.append(time.perf_counter() - began)
    checkpoints.close()
    peak = memory("VmHWM") - before
    images = config.checkpoint.every_epochs * TRAIN_IMAGES
    wait, between = max(waits), images / options.images_per_second
    print(f"state        {total / 1e9:.3f} GB, {len(jax.tree.leaves(state))} arrays")
    print(f"memory       {held / total:.2f} of it before saving, peak {peak / total:.2f}")
    print(f"wait         {statistics.median(waits):.3f} s, longest {wait:.3f} s of {len(waits)}")
    print(f"on disk in   {statistics.median(totals):.1f} s, checksums included")
    print(
        f"share        {100 * wait / between:.3f} % with a save every {images:,.0f} images at "
        f"{options.images_per_second:,.0f} images/s"
    )
    print(f"for 2 %      at most one save every {wait / 0.02:.0f} s")


def read(options: argparse.Namespace) -> None:
    """Time reading params and extra, as evaluation does, or the whole state, as training does."""
    parts = assemble(load(options.config), TRAIN_IMAGES)
    here = SingleDeviceSharding(jax.devices()[0])
    shapes = parts.shapes._asdict()
    if options.act == "read":
        shapes = {"params": shapes["params"], "extra": shapes["extra"]}
    like = attach_shardings(shapes, jax.tree.map(lambda _: here, shapes))
    jax.block_until_ready(jax.numpy.zeros(1))
    before = reset()
    began = time.perf_counter()
    restored = restore_newest(Path(options.workdir), like)
    seconds = time.perf_counter() - began
    jax.block_until_ready(restored.state)
    peak, total = memory("VmHWM") - before, size(restored.state)
    part = "params" if options.act == "read" else "all"
    print(f"read {part:<8}{total / 1e9:.3f} GB in {seconds:.1f} s, peak {peak / total:.2f} of it")


ACTS: dict[str, Callable[[argparse.Namespace], None]] = {"save": save, "read": read, "all": read}


def main() -> None:
    """Run the parts one after the other, each in a separate process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/mae.py")
    parser.add_argument("--saves", type=int, default=4)
    parser.add_argument("--images-per-second", type=float, default=1000.0)
    parser.add_argument("--workdir", help="folder to write in; default: a temporary one")
    parser.add_argument("--act", choices=ACTS, help="run only this part, in this process")
    options = parser.parse_args()
    if options.act:
        ACTS[options.act](options)
        return
    with tempfile.TemporaryDirectory(dir=options.workdir) as folder:
        for act in ACTS:
            command = [sys.executable, "-m", "benchmarks.checkpoint", *sys.argv[1:]]
            subprocess.run([*command, f"--act={act}", f"--workdir={folder}"], check=True)


if __name__ == "__main__":
    main()
