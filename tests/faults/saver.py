"""A process that does nothing but save, to be killed: states whose values are all their step."""

import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp

from maskmim.checkpoints.reader import layout
from maskmim.checkpoints.writer import Checkpoints

ARRAYS = 6


def state_at(step, megabytes):
    """A dict of arrays, each value the step; megabytes: of the whole."""
    length = int(megabytes * 250_000 / ARRAYS)
    arrays = {f"array{i}": jnp.full(length, step, jnp.float32) for i in range(ARRAYS)}
    return {"step": jnp.int32(step), "params": arrays}


def like(megabytes):
    """What `Checkpoints.restore` wants to know, on this process's first device."""
    shapes = jax.eval_shape(lambda: state_at(0, megabytes))
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return layout(shapes, jax.tree.map(lambda _: here, shapes))


def save_for_ever(workdir: str, megabytes: float) -> None:
    """Continues from the newest checkpoint and saves every step, in donated arrays as training."""
    checkpoints = Checkpoints(Path(workdir), keep_latest=2)
    restored = checkpoints.restore(like(megabytes))
    state = state_at(0, megabytes) if restored is None else restored.state
    advance = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    for step in itertools.count(1 if restored is None else restored.step + 1):
        state = advance(state)
        checkpoints.save(step, state, {"step": step}, json.dumps({"saved": step}))
