"""A process that only saves, to be killed; all values of a state are its step."""

import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp

from maskmim.checkpoints.reader import attach_shardings
from maskmim.checkpoints.writer import Checkpoints

ARRAYS = 6


def state_at(step, megabytes):
    """Return a dict of arrays whose values are the step; `megabytes` in all."""
    length = int(megabytes * 250_000 / ARRAYS)
    arrays = {f"array{i}": jnp.full(length, step, jnp.float32) for i in range(ARRAYS)}
    return {"step": jnp.int32(step), "params": arrays}


def like(megabytes):
    """Return the layout for `Checkpoints.restore`, on this process's first device."""
    shapes = jax.eval_shape(lambda: state_at(0, megabytes))
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return attach_shardings(shapes, jax.tree.map(lambda _: here, shapes))


def save_for_ever(workdir: str, megabytes: float) -> None:
    """Continue from the newest checkpoint and save every step, in donated arrays as in training."""
    checkpoints = Checkpoints(Path(workdir), keep_latest=2)
    restored = checkpoints.restore(like(megabytes))
    state = state_at(0, megabytes) if restored is None else restored.state
    advance = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    for step in itertools.count(1 if restored is None else restored.step + 1):
        state = advance(state)
        checkpoints.save(step, state, {"step": step}, json.dumps({"saved": step}))
