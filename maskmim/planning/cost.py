"""The cost of a training without running a step: tokens, FLOPs and bytes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from clu import parameter_overview
from ml_collections import ConfigDict

from maskmim.config.bricks import bind
from maskmim.data.batch_arrays import output_shapes
from maskmim.planning.arithmetic import matrix_flops
from maskmim.training import sharding
from maskmim.training.build import Assembly, build_method, init_sharded, jitted_step, spec_of
from maskmim.types import Batch, Mask, Method, Randomness, Tree, Variables, random_key


class Tokens(NamedTuple):
    """Tokens of an example: all, visible to the encoder, predicted."""

    all: int
    visible: int
    predicted: int


def batch_shapes(config: ConfigDict, examples: int) -> dict[str, Tree]:
    """Return shapes and dtypes of what the input pipeline puts on the devices.

    An array for each stream and field, and {'label': {set: i32[examples]}} where the config
    declares label sets: the tree that `train_loop.place_on_mesh` makes of a batch.
    """
    spec = spec_of(config)

    def shaped(shape: tuple[int, ...], dtype: str) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((examples, *shape), jnp.dtype(dtype))

    arrays = output_shapes(bind(config.data.augment), spec)
    batch = {name: shaped(*array) for name, array in arrays.items()}
    labels = {name: shaped((), "int32") for name in spec.labels}
    return batch | ({"label": labels} if labels else {})


def variables_shapes(parts: Assembly) -> Variables:
    """Return the shapes of a method's variables."""
    return Variables(parts.shapes.params, parts.shapes.extra, parts.frozen_shapes)


def count_parameters(tree: Tree) -> int:
    """Return the number of values in a tree of arrays or shapes."""
    return parameter_overview.count_parameters(tree)


def tokens_per_example(method: Method, variables: Variables, batch: Batch) -> Tokens:
    """Count an example's tokens, of all its views, from shapes alone, without computing a mask."""
    examples = jax.tree.leaves(batch)[0].shape[0]

    def sample_masks(variables: Variables, batch: Batch) -> tuple[Mask, ...]:
        randomness = Randomness.of(random_key(0), examples)
        drawn = method.apply["mask"](variables, batch, randomness)
        return drawn["masks"] if "masks" in drawn else (drawn["mask"],)

    masks = jax.eval_shape(sample_masks, variables, batch)
    counts = [(each.hidden, each.visible, each.predict) for each in masks]
    return Tokens(
        *(sum(array.shape[1] for array in arrays) for arrays in zip(*counts, strict=True))
    )


def train_flops_per_example(config: ConfigDict, parts: Assembly, examples: int = 8) -> float:
    """Return the FLOPs of loss and gradient of one example, counted by XLA before optimisation.

    XLA counts the body of a loop once, so the layers are unrolled for the count. It excludes what
    fusion and rematerialisation skip or repeat later.
    """
    method = _with_model(_with_unrolled_teachers(config), unroll=True)
    lowered = jax.jit(_gradient(method, examples)).lower(
        variables_shapes(parts), batch_shapes(config, examples)
    )
    return lowered.cost_analysis()["flops"] / examples


def product_flops_per_example(
    config: ConfigDict, parts: Assembly, *, repeats: bool = False, examples: int = 8
) -> float:
    """Return the FLOPs of the matrix products of loss and gradient of one example, from shapes.

    Element-wise operations, which XLA counts too, are excluded; loops count once per iteration.
    repeats: include the products that `model.compute.remat` repeats in the backward pass.
    """
    method = parts.method if repeats else _with_model(config, remat="none")
    traced = jax.make_jaxpr(_gradient(method, examples))(
        variables_shapes(parts), batch_shapes(config, examples)
    )
    return matrix_flops(traced.jaxpr) / examples


def _with_model(config: ConfigDict, **changes: object) -> Method:
    """Build the method of a config with other values of `compute`, of its model and its calls."""
    changed = config.copy_and_resolve_references()
    for section in (changed.model, *changed.calls.values()):
        if "compute" in section:
            section.compute.update(changes)
    return build_method(changed)[1]


def _with_unrolled_teachers(config: ConfigDict) -> ConfigDict:
    """Return the config with the blocks of its random frozen networks unrolled."""
    changed = config.copy_and_resolve_references()
    for teacher in changed.teachers.values():
        if "network" in teacher and teacher.network and "unroll" in teacher.network:
            teacher.network.unroll = True
    return changed


def _gradient(method: Method, examples: int) -> Callable[[Variables, Batch], Tree]:
    """Return a function that computes loss and gradient of a batch of `examples` examples."""

    def gradient(variables: Variables, batch: Batch) -> Tree:
        randomness = Randomness.of(random_key(0), examples)

        def loss(params: Tree) -> jax.Array:
            trained = variables._replace(params=params)
            losses = method.loss(trained, batch, randomness, jnp.float32(0))
            return sum(losses.scales[name] * term.value for name, term in losses.terms.items())

        return jax.value_and_grad(loss)(variables.params)

    return gradient


def compile_step(config: ConfigDict, parts: Assembly) -> jax.stages.Compiled:
    """Compile the train step for the mesh of this machine."""
    batch = batch_shapes(config, config.train.batch_size)
    step = jitted_step(config, parts)
    return step.lower(parts.shapes, parts.frozen_shapes, batch).compile()


def step_seconds(
    config: ConfigDict, parts: Assembly, step: jax.stages.Compiled, *, steps: int = 3
) -> float:
    """Return the seconds of a compiled step, the mean of a few on black images, after one more.

    Raises jax.errors.JaxRuntimeError where the memory of this machine does not suffice.
    """
    state, frozen = init_sharded(parts, config.seed)
    shapes = batch_shapes(config, config.train.batch_size)
    batch = jax.tree.map(
        lambda shape: sharding.put(np.zeros(shape.shape, shape.dtype), parts.mesh), shapes
    )
    state, metrics = step(state, frozen, batch)
    jax.block_until_ready(metrics)
    began = time.perf_counter()
    for _ in range(steps):
        state, metrics = step(state, frozen, batch)
    jax.block_until_ready((state, metrics))
    return (time.perf_counter() - began) / steps


def step_memory(step: jax.stages.Compiled) -> dict[str, int]:
    """Return the bytes per device of a compiled step, by kind."""
    memory = step.memory_analysis()
    return {
        "arguments (state, batch)": memory.argument_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "outputs not aliased": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        "code": memory.generated_code_size_in_bytes,
    }


def bytes_per_device(shapes: Tree, shardings: Tree) -> int:
    """Return the bytes that a tree of sharded arrays uses on one device."""
    local = jax.tree.map(
        lambda x, s: math.prod(s.shard_shape(x.shape)) * x.dtype.itemsize, shapes, shardings
    )
    return sum(jax.tree.leaves(local))
