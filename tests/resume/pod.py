"""Write the checkpoint of a training on 8 devices: `python -m tests.resume.pod WORKDIR`."""

import sys
from pathlib import Path

import jax
import numpy as np

from maskmim.checkpoints.workdir import save_config
from maskmim.checkpoints.writer import Checkpoints
from maskmim.config.load import load, override
from maskmim.config.serialize import to_json
from maskmim.training.build import assemble

MESH = ("mesh.data=1", "mesh.fsdp=8")


def values(shapes):
    """Return arrays for a tree of shapes, all different, the same in every process."""
    leaves, structure = jax.tree.flatten(shapes)
    made = [
        np.random.default_rng(i).normal(size=leaf.shape).astype(leaf.dtype)
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, made)


def main(workdir: Path) -> None:
    config = override(load("configs/hpm.py:tiny"), MESH)
    parts = assemble(config, 296)
    state = jax.tree.map(jax.device_put, values(parts.shapes), parts.shardings)
    sharded = [leaf for leaf in jax.tree.leaves(state) if not leaf.sharding.is_fully_replicated]
    workdir.mkdir()
    save_config(workdir, config)
    checkpoints = Checkpoints(workdir)
    checkpoints.save(7, state, {"step": 7}, to_json(config))
    checkpoints.close()
    print(f"{len(jax.devices())} devices, {len(sharded)} arrays in parts")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
