"""Meshes and where every array lives on them: path rules, first match wins."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from maskmim.errors import UserError, count_of
from maskmim.tree_paths import leaf_path
from maskmim.types import State, Tree

AXES = ("data", "fsdp", "sequence", "tensor")
BATCH_AXES = ("data", "fsdp")
Rules = Sequence[tuple[str, tuple]]


class ShardingError(UserError, ValueError):
    """A mesh or a rule that does not fit the devices, the batch or the parameters."""


def transformer() -> Rules:
    """Return rules for our transformers: (path pattern, axis per dimension); `config.mesh.rules`.

    Blocks are stacked, so their first dimension is the layer and is never split. Kernels are split
    over `fsdp` along the width that enters and over `tensor` along heads or hidden units (Megatron,
    arXiv 1909.08053, section 3), output projections the other way round. Heads are split along
    their values, so is a stack of them, `heads`; `first` and `second` are hidden layers of DINO's
    head. All else is replicated.
    """
    return (
        (r"blocks/.*qkv/kernel$", (None, "fsdp", None, "tensor", None)),
        (r"blocks/.*qkv/bias$", (None, None, "tensor", None)),
        (r"blocks/.*attention/kv/kernel$", (None, "fsdp", None, "tensor", None)),
        (r"blocks/.*attention/kv/bias$", (None, None, "tensor", None)),
        (r"blocks/.*attention/(query|key|value)/kernel$", (None, "fsdp", "tensor", None)),
        (r"blocks/.*attention/(query|key|value)/bias$", (None, "tensor", None)),
        (r"blocks/.*attention/out/kernel$", (None, "tensor", None, "fsdp")),
        (r"blocks/.*mlp/(up|gate)/kernel$", (None, "fsdp", "tensor")),
        (r"blocks/.*mlp/(up|gate)/bias$", (None, "tensor")),
        (r"blocks/.*mlp/down/kernel$", (None, "tensor", "fsdp")),
        (r"heads/kernel$", (None, "fsdp", "tensor")),
        (r"(head_\w+|last|clusters)/kernel$", ("fsdp", "tensor")),
        (r"head_\w+/bias$", ("tensor",)),
        (r"first/kernel$", ("fsdp", "tensor")),
        (r"second/kernel$", ("tensor", "fsdp")),
        (r"kernel$", ("fsdp",)),
        (r"(bias|scale|positions|token|registers|latents|mix|embedding)$", ()),
    )


def make_mesh(sizes: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Make the global mesh with the axes AXES; one size may be -1, for the devices that are left.

    sizes: of axes by name, 1 for those that are not named.

    Raises ShardingError where the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = dict.fromkeys(AXES, 1) | sizes
    shape = [sizes[axis] for axis in AXES]
    known = math.prod(size for size in shape if size > 0)
    if shape.count(-1) == 1:
        shape[shape.index(-1)] = len(devices) // known
    if min(shape) < 1 or math.prod(shape) != len(devices):
        asked = ", ".join(f"{axis}={sizes[axis]}" for axis in AXES)
        raise ShardingError(
            f"mesh {asked} does not fit {count_of(len(devices), 'device')}: the sizes must "
            "multiply to that number; one of them may be -1"
        )
    types = (AxisType.Auto,) * len(AXES)
    return jax.make_mesh(tuple(shape), AXES, axis_types=types, devices=devices)


def on_mesh(function: Callable, mesh: Mesh) -> Callable:
    """Trace a function inside a mesh, so that `layers.constraints` can constrain activations."""

    @functools.wraps(function)
    def placed(*arguments: Any) -> Any:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*arguments)

    return placed


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of an array that every device has whole."""
    return NamedSharding(mesh, PartitionSpec())


def by_example(mesh: Mesh) -> NamedSharding:
    """Return the sharding of a batch: its first dimension split over data and fsdp."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def check_batch(mesh: Mesh, batch_size: int, micro_batches: int) -> None:
    """ShardingError unless every micro-batch spreads evenly over the batch's devices.

    Also where devices that share their examples belong to several processes, as each process reads
    examples of its own.
    """
    check_sharers(mesh.devices, math.prod(mesh.shape[axis] for axis in BATCH_AXES))
    devices = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    parts = devices * micro_batches
    split = f"{count_of(micro_batches, 'micro-batch', 'micro-batches')} over "
    split += count_of(devices, "device")
    if batch_size % devices == 0 and batch_size < parts:
        most = batch_size // devices
        raise ShardingError(
            f"train.batch_size {batch_size} does not divide into {split}, each needs an example: "
            f"use at most train.micro_batches={most}"
        )
    if batch_size % parts:
        near = max(parts, round(batch_size / parts) * parts)
        raise ShardingError(
            f"train.batch_size {batch_size} does not divide into {split}: use a multiple of "
            f"{parts}, for example {near}"
        )


def check_sharers(devices: np.ndarray, shares: int) -> None:
    """ShardingError unless each share of the batch lies in one process; devices in mesh order."""
    for sharers in devices.reshape(shares, -1):
        processes = {device.process_index for device in sharers}
        if len(processes) > 1:
            raise ShardingError(
                f"mesh.sequence x mesh.tensor = {len(sharers)} devices share their examples but "
                f"belong to the processes {sorted(processes)}, which read different ones: let the "
                "product divide the devices of a process, and spread the rest over data and fsdp"
            )


def tree_shardings(tree: Tree, rules: Rules, mesh: Mesh) -> Tree:
    """Return a NamedSharding for every array of a tree of parameters.

    A dimension that an axis does not divide stays whole. Raises ShardingError for a path that no
    rule matches, so that no array is replicated by accident.
    """

    def place(path: tuple, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        name = leaf_path(path)
        for pattern, axes in rules:
            if re.search(pattern, name):
                return NamedSharding(mesh, _fit(axes, leaf.shape, mesh))
        raise ShardingError(
            f"no sharding rule matches the parameter {name} {leaf.shape}: add a line for it to the "
            "function that mesh.rules names"
        )

    return jax.tree.map_with_path(place, tree)


def _fit(axes: tuple, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    axes = axes[: len(shape)]
    kept = [
        axis if axis and mesh.shape[axis] > 1 and size % mesh.shape[axis] == 0 else None
        for axis, size in zip(axes, shape, strict=False)
    ]
    return PartitionSpec(*kept)


def state_shardings(
    shapes: State, optimiser: optax.GradientTransformation, rules: Rules, mesh: Mesh
) -> State:
    """Return the shardings of a whole train state.

    What the optimiser keeps per parameter lies where the parameter lies, if it has its shape, and
    is replicated otherwise, as rows and columns of second moments. In `extra` a tree that
    repeats parameter paths (averaged weights) matches the same rules; what matches none there is
    replicated, as are counters.
    """
    whole = replicated(mesh)
    params = tree_shardings(shapes.params, rules, mesh)
    opt_state = optax.tree.map_params(
        optimiser,
        lambda kept, param, place: place if kept.shape == param.shape else whole,
        shapes.opt_state,
        shapes.params,
        params,
        transform_non_params=lambda _: whole,
    )
    extra = tree_shardings(shapes.extra, (*rules, ("", ())), mesh)
    return State(whole, params, extra, opt_state, whole)


def put(array: np.ndarray, mesh: Mesh) -> jax.Array:
    """Put examples on the mesh; each process passes its own share of the global batch."""
    return jax.make_array_from_process_local_data(by_example(mesh), array)
