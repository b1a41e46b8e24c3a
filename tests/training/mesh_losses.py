"""Trains configs on several meshes of virtual devices and compares; run as a process.

`python -m tests.training.mesh_losses NAME ...` (of `mesh_cases.SLOW`; none for QUICK) prints
JSON: {name: {mesh: {"losses", "loss", "params", "moments", "extra", "split", "collectives"}}}. The
first mesh is the one that the others are compared with; mesh "a > b", without collectives, was
saved on a after half of the steps and continued on b. Differences are relative, of losses the
largest, of arrays those of all together. "collectives" are [kind, shapes, op] as compiled.
"""

import json
import math
import re
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

from maskmim.checkpoints.reader import attach_shardings
from maskmim.checkpoints.writer import Checkpoints
from maskmim.config.load import load, override
from maskmim.config.serialize import to_json
from maskmim.planning.cost import batch_shapes
from maskmim.training import sharding
from maskmim.training.build import assemble, init_sharded, jitted_step
from tests.batches import random_batch
from tests.training import mesh_cases

EXAMPLES = 296
ONE = ["mesh.data=1"]


class Training:
    """A config on a mesh of the first devices; its step is compiled once."""

    def __init__(self, config, flags):
        self.config = override(load(config), flags)
        sizes = {axis: self.config.mesh[axis] for axis in sharding.AXES}
        self.parts = assemble(self.config, EXAMPLES, jax.devices()[: math.prod(sizes.values())])
        batch = batch_shapes(self.config, self.config.train.batch_size)
        step = jitted_step(self.config, self.parts)
        # Compiled for these places alone: a state that came back in others would be refused.
        self.step = step.lower(self.parts.shapes, self.parts.frozen_shapes, batch).compile()

    def begin(self):
        return init_sharded(self.parts, self.config.seed)

    def run(self, state, frozen, first, last):
        """Steps first, first + 1, ..., last - 1: the state and the losses."""
        losses = []
        for number in range(first, last):
            state, metrics = self.step(state, frozen, self.batch(number))
            losses.append(float(metrics["loss"]))
        return state, losses

    def batch(self, number):
        return random_batch(self.config, np.random.default_rng(number), self.parts.mesh)


def move(first, second, steps):
    """Half of the steps on one mesh, saved, and the rest on another: the state and the losses."""
    state, losses = first.run(*first.begin(), 0, steps // 2)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), keep_latest=1, keep_every=0)
        checkpoints.save(steps // 2, state, {}, to_json(first.config))
        like = attach_shardings(second.parts.shapes, second.parts.shardings)
        found = checkpoints.restore(like).state
        checkpoints.close()
    state = jax.tree.map(lambda array: array, found)
    _, frozen = second.begin()
    state, others = second.run(state, frozen, steps // 2, steps)
    return state, losses + others


def floats(tree):
    """The leaves that are not counts, in float64."""
    every = map(np.asarray, jax.tree.leaves(tree))
    return [array.astype(np.float64) for array in every if array.dtype.kind == "f"]


def apart(arrays, reference):
    """The norm of the difference over the norm of the reference, over all arrays."""
    total = sum(np.sum((a - b) ** 2) for a, b in zip(arrays, reference, strict=True))
    size = sum(np.sum(b**2) for b in reference)
    return float(np.sqrt(total / size)) if size else 0.0


def found(state, losses, reference):
    """What is printed of a training, `reference` being what the first mesh gave."""
    kinds = {"params": state.params, "moments": state.opt_state, "extra": state.extra}
    arrays = {kind: floats(tree) for kind, tree in kinds.items()}
    reference = reference or (arrays, losses)
    old, expected = reference
    worst = np.max(np.abs(np.subtract(losses, expected)) / np.abs(expected))
    told = {"losses": losses, "loss": float(worst)}
    told |= {kind: apart(arrays[kind], old[kind]) for kind in kinds}
    split = sum(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))
    return {**told, "split": split}, reference


def collectives(text):
    """[kind, shapes, op of the program] of each collective in compiled text."""
    kinds = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute"
    found = re.findall(rf'= (.*?) ({kinds})(?:-start)?\(.*?op_name="([^"]*)"', text)
    return [[kind, re.findall(r"\w+\[[\d,]*\]", shapes), op] for shapes, kind, op in found]


def compare(config, flags, meshes, moves, steps):
    """A method on its meshes, and its moves between them."""
    trainings, told, reference = {}, {}, None
    for name, sizes in meshes.items():
        trainings[name] = training = Training(config, [*flags, *ONE, *sizes])
        told[name], reference = found(*training.run(*training.begin(), 0, steps), reference)
        say(config, name, told[name])
        told[name]["collectives"] = collectives(training.step.as_text())
    for first, second in moves:
        name = f"{first} > {second}"
        told[name], _ = found(*move(trainings[first], trainings[second], steps), reference)
        say(config, name, told[name])
    return told


def say(config, name, told):
    """A line for people."""
    kinds = (f"{kind} {told[kind]:.1e}" for kind in ("loss", "params", "moments", "extra"))
    print(f"{config:<32} {name:<40} {'  '.join(kinds)}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    chosen = {name: mesh_cases.SLOW[name] for name in sys.argv[1:]} or {"quick": mesh_cases.QUICK}
    print(json.dumps({name: compare(**case) for name, case in chosen.items()}))
