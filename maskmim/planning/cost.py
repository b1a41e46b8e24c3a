"""What a training costs, by XLA's own count: FLOPs and bytes, without running a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from clu import parameter_overview
from ml_collections import ConfigDict

from maskmim.config.bricks import bind
from maskmim.data.pipeline import made_of
from maskmim.planning.arithmetic import matrix_flops
from maskmim.training.build import Assembly, build_method, jitted_step, spec_of
from maskmim.types import Batch, Method, Randomness, Tree, Variables


class Tokens(NamedTuple):
    """Tokens of an example: in all, seen by the encoder, predicted."""

    all: int
    visible: int
    predicted: int


def batch_shapes(config: ConfigDict, examples: int) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of what the input pipeline puts on the devices."""
    spec = spec_of(config)
    shapes = made_of(bind(config.data.augment), spec)
    return {
        name: jax.ShapeDtypeStruct((examples, *shape), jnp.dtype(spec.dtype))
        for name, shape in shapes.items()
    }


def variables_shapes(parts: Assembly) -> Variables:
    """The shapes of a method's variables."""
    return Variables(parts.shapes.params, parts.shapes.extra, parts.frozen_shapes)


def count(tree: Tree) -> int:
    """The number of values in a tree of arrays or shapes."""
    return parameter_overview.count_parameters(tree)


def tokens_per_example(method: Method, variables: Variables, batch: Batch) -> Tokens:
    """Tokens of an example in all, visible and predicted, from shapes alone."""
    examples = jax.tree.leaves(batch)[0].shape[0]

    def draw(variables: Variables, batch: Batch) -> object:
        randomness = Randomness.of(jax.random.key(0), examples)
        return method.apply["mask"](variables, batch, randomness)["mask"]

    mask = jax.eval_shape(draw, variables, batch)
    return Tokens(mask.hidden.shape[1], mask.visible.shape[1], mask.predict.shape[1])


def train_flops_per_example(config: ConfigDict, parts: Assembly, examples: int = 8) -> float:
    """FLOPs of loss and gradient of one example, as XLA counts them before optimising.

    XLA counts the body of a loop once, so the layers are unrolled for the count. What a CPU or a
    GPU kernel skips or repeats later (fusion, rematerialisation by policy) is not in it.
    """
    method = _with_model(config, unroll=True)
    lowered = jax.jit(_gradient(method, examples)).lower(
        variables_shapes(parts), batch_shapes(config, examples)
    )
    return lowered.cost_analysis()["flops"] / examples


def product_flops_per_example(
    config: ConfigDict, parts: Assembly, *, repeats: bool = False, examples: int = 8
) -> float:
    """FLOPs of the matrix products of loss and gradient of one example, counted by their shapes.

    Without the element-wise rest that XLA's count has; loops count as often as they run.
    repeats: counts what `model.remat` makes the backward pass compute again, too.
    """
    method = parts.method if repeats else _with_model(config, remat="none")
    traced = jax.make_jaxpr(_gradient(method, examples))(
        variables_shapes(parts), batch_shapes(config, examples)
    )
    return matrix_flops(traced.jaxpr) / examples


def _with_model(config: ConfigDict, **changes: object) -> Method:
    """The method of a config whose model has other values, of keywords that it knows."""
    changed = ConfigDict(config)
    with changed.unlocked():
        changed.model.update({key: new for key, new in changes.items() if key in changed.model})
    return build_method(changed)[1]


def _gradient(method: Method, examples: int) -> Callable[[Variables, Batch], Tree]:
    """Loss and gradient of a batch of so many examples."""

    def gradient(variables: Variables, batch: Batch) -> Tree:
        randomness = Randomness.of(jax.random.key(0), examples)

        def loss(params: Tree) -> jax.Array:
            whole = variables._replace(params=params)
            losses = method.loss(whole, batch, randomness, jnp.float32(0))
            return sum(losses.scales[name] * term.value for name, term in losses.terms.items())

        return jax.value_and_grad(loss)(variables.params)

    return gradient


def step_memory(config: ConfigDict, parts: Assembly) -> dict[str, int]:
    """Bytes per device of the compiled train step: state, batch, temporaries, code.

    Compiles the real step for the mesh at hand.
    """
    step = jitted_step(config, parts)
    batch = batch_shapes(config, config.train.batch_size)
    memory = step.lower(parts.shapes, parts.frozen_shapes, batch).compile().memory_analysis()
    return {
        "arguments (state, batch)": memory.argument_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "outputs not aliased": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        "code": memory.generated_code_size_in_bytes,
    }


def bytes_per_device(shapes: Tree, places: Tree) -> int:
    """Bytes that a tree of arrays takes on one device when laid out so."""
    local = jax.tree.map(
        lambda x, s: math.prod(s.shard_shape(x.shape)) * x.dtype.itemsize, shapes, places
    )
    return sum(jax.tree.leaves(local))
