"""Train a tiny method through the input pipeline, and split batches; for test_determinism.py.

python -m tests.faults.fifty_steps train | some | all, the latter two with eight devices.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.data.arrays import ArrayRecords
from maskmim.data.pipeline import train_batches
from maskmim.data.transforms import random_resized_crop_flip
from maskmim.masks.colour import green
from maskmim.optim.adam import adamw
from maskmim.schedules.warmup import Span, warmup_cosine
from maskmim.training import sharding
from maskmim.training.train_step import make_train_step
from maskmim.types import Method
from tests.compiling import quick_jit
from tests.tiny import SPEC, begin, pictures, tiny_method

STEPS = 50
BATCH = 16
# (devices, micro-batches): a part has an example for each device.
SPLITS = {
    "some": ((1, 1), (8, 2)),
    "all": ((1, 1), (1, 2), (1, 4), (1, 8), (8, 1), (8, 2)),
}


def optimiser():
    return adamw(warmup_cosine(Span(STEPS, 10.0), warmup_epochs=1), BATCH, lr=0.05)


def digest(tree) -> str:
    """Return the sha256 of the bytes of every array of a tree."""
    total = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        total.update(np.asarray(leaf).tobytes())
    return total.hexdigest()


@functools.cache
def compiled():
    method = tiny_method()
    step = make_train_step(method, optimiser(), seed=0, total_steps=STEPS)
    return method, jax.jit(step)


def trained(*, workers: int, threads: int, seed: int = 0) -> dict:
    """Return the losses, and the sha256 of state and batches, of 50 steps on 45 pictures."""
    method, step = compiled()
    state, frozen = begin(method, optimiser(), seed)
    records = ArrayRecords(pictures(45), {}, classes={}, title="pictures")
    batches = train_batches(
        records,
        spec=SPEC,
        batch_size=BATCH,
        seed=seed,
        augment=partial(random_resized_crop_flip, scale=(0.3, 1.0)),
        workers=workers,
        threads=threads,
    )
    losses, seen = [], hashlib.sha256()
    for _ in range(STEPS):
        image = next(batches)["image"]
        seen.update(image.tobytes())
        state, metrics = step(state, frozen, {"image": image})
        losses.append(float(metrics["loss"]))
    batches.close()
    return {"losses": losses, "batches": seen.hexdigest(), "state": digest(state)}


def noting(slots: int) -> Method:
    """Return the tiny method with the tokens that a step hides of every slot in `extra`."""
    masks = []

    def sampler(randomness, context):
        masks.append(green(randomness, context, ratio=0.75))
        return masks[-1]

    method = tiny_method(mask=sampler)

    def loss(variables, batch, randomness, progress):
        losses = method.loss(variables._replace(extra={}), batch, randomness, progress)
        hidden = masks[-1].hidden.astype(jnp.int32)
        table = jnp.zeros((slots, hidden.shape[1]), jnp.int32).at[randomness.slots].add(hidden)
        return losses._replace(carry=table)

    def init(key):
        return method.init(key)[0], jnp.zeros((slots, 12), jnp.int32)

    def refresh(variables, carry, progress):
        return carry

    return method._replace(init=init, loss=loss, refresh=refresh)


def masks_of_splits(which: str) -> dict:
    """Return the masks and the loss of one step for each number of devices and micro-batches."""
    method = noting(BATCH)
    return {
        f"{parts} parts on {devices}": one_step(method, parts, jax.devices()[:devices])
        for devices, parts in SPLITS[which]
    }


def one_step(method: Method, parts: int, devices: list) -> dict:
    """Return the masks and the loss of one step on these devices, in `parts` micro-batches."""
    mesh = sharding.make_mesh({"data": len(devices), "fsdp": 1, "tensor": 1}, devices)
    whole = sharding.replicated(mesh)
    step = quick_jit(
        make_train_step(method, optimiser(), seed=0, total_steps=STEPS, micro_batches=parts),
        in_shardings=(whole, whole, sharding.by_example(mesh)),
        out_shardings=whole,
    )
    state, frozen = begin(method, optimiser())
    state, metrics = step(state, frozen, {"image": sharding.put(pictures(BATCH), mesh)})
    return {"hidden": np.asarray(state.extra).tolist(), "loss": float(metrics["loss"])}


if __name__ == "__main__":
    if sys.argv[1] == "train":
        print(json.dumps(trained(workers=0, threads=2)))
    else:
        print(json.dumps(masks_of_splits(sys.argv[1])))
