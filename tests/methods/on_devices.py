"""Trains small methods on one and on eight devices; run as a process.

`python -m tests.methods.on_devices` prints JSON: {method: {"1": {"losses": [...], "extra": [...]},
"8": ...}}: losses of each step, and all values of `extra` after the last.
"""

import json
from functools import partial

import jax
import numpy as np
import optax

from maskmim.teachers.momentum import constant
from maskmim.training import sharding
from maskmim.training.averaged import averaged
from maskmim.training.train_step import make_train_step
from tests.methods import small_methods
from tests.models.tiny_conv import tiny_conv_method
from tests.tiny import begin, pictures

STEPS, EXAMPLES = 4, 16
METHODS = {
    "norms": (tiny_conv_method, lambda examples, seed: {"image": pictures(examples, seed)}),
    "labels": (small_methods.supervised, small_methods.labelled),
    "averaged text": (
        lambda: averaged(small_methods.text(), partial(constant, value=0.5)),
        small_methods.windows,
    ),
}


def train(name: str, devices: int) -> dict[str, list[float]]:
    """Train on a mesh of the first devices, with the batch split over all of them."""
    mesh = sharding.make_mesh({"data": devices}, jax.devices()[:devices])
    build, batches = METHODS[name]
    method, optimiser = build(), optax.sgd(0.1)
    state, frozen = begin(method, optimiser)
    step = make_train_step(method, optimiser, seed=0, total_steps=STEPS)
    whole, split = sharding.replicated(mesh), sharding.by_example(mesh)
    step = jax.jit(
        sharding.on_mesh(step, mesh),
        in_shardings=(whole, whole, split),
        out_shardings=(whole, whole),
    )
    losses = []
    for number in range(STEPS):
        state, metrics = step(state, frozen, batches(EXAMPLES, number))
        losses.append(float(metrics["loss"]))
    extra = [np.asarray(leaf).ravel() for leaf in jax.tree.leaves(state.extra)]
    return {"losses": losses, "extra": np.concatenate([*extra, np.zeros(1)]).tolist()}


if __name__ == "__main__":
    counts = 1, jax.device_count()
    print(json.dumps({name: {count: train(name, count) for count in counts} for name in METHODS}))
