"""One of two processes that save together: `python -m tests.faults.two_savers PORT PROCESS DIR`."""

import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from maskmim.checkpoints.reader import attach_shardings, restore_newest, stored_steps
from maskmim.checkpoints.writer import Checkpoints
from maskmim.runtime import processes


def state_at(step, places):
    """Return a tree whose values are the step: one array sharded, one replicated."""
    shapes = {"params": (8, 1000), "step": ()}
    return {
        name: jax.make_array_from_callback(
            shape, places[name], lambda index, shape=shape: np.full(shape, step, np.float32)[index]
        )
        for name, shape in shapes.items()
    }


def check(restored, step):
    """Check that this step was restored, and print it."""
    assert restored is not None and restored.step == step and restored.data == {"step": step}
    for array in restored.state.values():
        for shard in array.addressable_shards:
            np.testing.assert_array_equal(shard.data, step)
    print(f"restored {step}", flush=True)


def main(port: str, process: str, workdir: Path) -> None:
    processes.join(processes.parse_rendezvous(f"127.0.0.1:{port}", "2", process))
    mesh = Mesh(np.array(jax.devices()), ("fsdp",))
    places = {
        "params": NamedSharding(mesh, PartitionSpec("fsdp")),
        "step": NamedSharding(mesh, PartitionSpec()),
    }
    shapes = jax.eval_shape(lambda: {"params": np.zeros((8, 1000), "f"), "step": np.float32(0)})
    like = attach_shardings(shapes, places)
    checkpoints = Checkpoints(workdir, keep_latest=2)
    for step in (1, 2, 3):
        checkpoints.save(step, state_at(step, places), {"step": step}, "{}")
    checkpoints.close()
    processes.barrier("saved", seconds=60)
    assert stored_steps(checkpoints.folder) == [2, 3]
    check(restore_newest(workdir, like), 3)
    if processes.is_main():
        next((checkpoints.folder / "3" / "state").rglob("manifest.ocdbt")).write_bytes(b"")
    processes.barrier("harmed", seconds=60)
    check(restore_newest(workdir, like), 2)
    again = Checkpoints(workdir, keep_latest=2)
    check(again.restore(like), 2)
    again.save(3, state_at(3, places), {"step": 3}, "{}")
    again.close()
    processes.barrier("saved again", seconds=60)
    check(restore_newest(workdir, like), 3)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
