"""Prints losses of 20 steps on several meshes of 8 virtual devices, as JSON; run as a process."""

import json
import sys

import jax
import numpy as np

from maskmim import sharding
from maskmim.optim import adamw
from maskmim.schedules import Span, warmup_cosine
from maskmim.step import initial_state, make_train_step
from tests.tiny import pictures, tiny_method

BATCH = 16
STEPS = 20


def train(sizes, micro_batches=1):
    """Losses of each step, the shardings of the state, and how often the step was traced."""
    method = tiny_method()
    optimiser = adamw(warmup_cosine(Span(STEPS, 5.0), warmup_epochs=1), BATCH, lr=0.05)
    count = int(np.prod(list(sizes.values())))
    mesh = sharding.make_mesh(sizes, jax.devices()[:count])
    shapes = jax.eval_shape(lambda k: initial_state(method, optimiser, k), jax.random.key(0))
    places = sharding.state_shardings(shapes, optimiser, sharding.transformer(), mesh)
    whole = sharding.replicated(mesh)
    make = jax.jit(lambda key: initial_state(method, optimiser, key), out_shardings=places)
    state, frozen = make(jax.random.key(0)), method.freeze()
    step = jax.jit(
        make_train_step(method, optimiser, seed=0, total_steps=STEPS, micro_batches=micro_batches),
        in_shardings=(places, whole, sharding.by_example(mesh)),
        out_shardings=(places, whole),
        donate_argnums=0,
    )
    losses = []
    for number in range(STEPS):
        batch = {"image": sharding.put(pictures(BATCH, seed=number), mesh)}
        state, metrics = step(state, frozen, batch)
        losses.append(float(metrics["loss"]))
    split = sum(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))
    return {"losses": losses, "split": split, "traces": step._cache_size()}


if __name__ == "__main__":
    cases = json.loads(sys.argv[1])
    print(json.dumps({name: train(**case) for name, case in cases.items()}))
