"""From a config to the parts of a training: the one place that reads its sections."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from maskmim.config.bricks import bind, resolve
from maskmim.errors import UserError
from maskmim.optim.adam import peak
from maskmim.schedules.warmup import Schedule, Span, Timed
from maskmim.training import sharding
from maskmim.training.train_step import TrainStep, initial_state, make_train_step
from maskmim.types import Array, Method, Spec, State, Tree


class Assembly(NamedTuple):
    """The parts of a training that do not hold data.

    shapes, frozen_shapes: jax.ShapeDtypeStruct of the state and of the frozen variables.
    places:  shardings of the state.
    schedule: step -> factor of the peak learning rate.
    peak:    the peak learning rate after scaling with the batch.
    """

    spec: Spec
    method: Method
    optimiser: optax.GradientTransformation
    mesh: Mesh
    span: Span
    schedule: Schedule
    peak: float
    shapes: State
    frozen_shapes: Tree
    places: State


def spec_of(config: ConfigDict) -> Spec:
    """The picture of a config; UserError where statistics and channels do not go together."""
    given = config.input
    if given.dtype not in ("uint8", "float32"):
        raise UserError(f"input.dtype is {given.dtype!r}: use 'uint8' or 'float32'")
    if not len(given.mean) == len(given.std) == given.channels:
        raise UserError(
            f"input.mean has {len(given.mean)} values and input.std {len(given.std)}, but "
            f"input.channels is {given.channels}: give one of each for each channel"
        )
    statistics = tuple(given.mean), tuple(given.std)
    return Spec(tuple(given.size), given.channels, *statistics, given.stream, given.dtype)


def build_method(config: ConfigDict) -> tuple[Spec, Method]:
    """The method of a config: its function called with the sections that its keywords name.

    Raises UserError where the function asks for a section that the config lacks.
    """
    spec = spec_of(config)
    compose = resolve(config.method)
    sections = {}
    for name, parameter in inspect.signature(compose).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        if name not in config:
            raise UserError(f"{config.method} needs the section {name!r}, which the config lacks")
        sections[name] = bind(config[name])
    return spec, compose(spec, **sections)


def span_of(config: ConfigDict, examples: int) -> Span:
    """The length of a training on so many examples; an epoch is that many examples exactly."""
    per_epoch = examples / config.train.batch_size
    return Span(max(1, round(config.train.epochs * per_epoch)), per_epoch)


def build_optimiser(config: ConfigDict, examples: int) -> optax.GradientTransformation:
    """The optimiser of a training on so many examples."""
    span = span_of(config, examples)
    schedule = Timed(span, bind(config.schedule)(span))
    return bind(config.optim)(schedule, config.train.batch_size)


def assemble(
    config: ConfigDict, examples: int, devices: Sequence[jax.Device] | None = None
) -> Assembly:
    """Builds everything of a training but its data and its state.

    examples: size of the training set. devices: of the mesh, None for all of this program's.
    Nothing is computed or allocated on a device here.
    """
    spec, method = build_method(config)
    span = span_of(config, examples)
    schedule = bind(config.schedule)(span)
    optimiser = build_optimiser(config, examples)
    # A run that began before an axis was there has none in its config.
    sizes = {axis: config.mesh[axis] for axis in sharding.AXES if axis in config.mesh}
    mesh = sharding.make_mesh(sizes, devices)
    sharding.check_batch(mesh, config.train.batch_size, config.train.micro_batches)
    key = jax.random.key(config.seed)
    shapes = jax.eval_shape(lambda k: initial_state(method, optimiser, k), key)
    frozen = jax.eval_shape(method.freeze)
    rules = resolve(config.mesh.rules)()
    places = sharding.state_shardings(shapes, optimiser, rules, mesh)
    top = peak(config.optim.lr, config.optim.lr_per, config.train.batch_size)
    return Assembly(spec, method, optimiser, mesh, span, schedule, top, shapes, frozen, places)


def born_sharded(parts: Assembly, seed: int) -> tuple[State, Tree]:
    """The initial state, each array made where it lives; frozen variables on every device."""
    make = jax.jit(
        lambda key: initial_state(parts.method, parts.optimiser, key), out_shardings=parts.places
    )
    whole = sharding.replicated(parts.mesh)
    frozen = jax.tree.map(lambda array: everywhere(array, whole), parts.method.freeze())
    return make(jax.random.key(seed)), frozen


def everywhere(array: Array, whole: NamedSharding) -> Array:
    """An array that every process has, on all devices."""
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, whole, lambda index: host[index])


def jitted_step(config: ConfigDict, parts: Assembly) -> TrainStep:
    """The train step under jit, with the state donated and laid out on the mesh."""
    step = make_train_step(
        parts.method,
        parts.optimiser,
        seed=config.seed,
        total_steps=parts.span.steps,
        micro_batches=config.train.micro_batches,
    )
    whole = sharding.replicated(parts.mesh)
    return jax.jit(
        sharding.on_mesh(step, parts.mesh),
        in_shardings=(parts.places, whole, sharding.by_example(parts.mesh)),
        out_shardings=(parts.places, whole),
        donate_argnums=0,
    )
