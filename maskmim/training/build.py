"""From a config to the parts of a training: the one place that reads the config's sections."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from maskmim.config.bricks import bind, resolve
from maskmim.config.load import check_config
from maskmim.config.returned import returned
from maskmim.data.pipeline import check_repeats
from maskmim.errors import UserError
from maskmim.modalities import Modality
from maskmim.optim.compose import peak_learning_rate
from maskmim.schedules.warmup import Schedule, Span, Timed
from maskmim.training import sharding
from maskmim.training.averaged import averaged
from maskmim.training.example_spec import spec_of
from maskmim.training.train_step import TrainStep, initial_state, make_train_step
from maskmim.types import Array, Method, Spec, State, Tree, random_key

MOST_STEPS = 2**31 - 1


class DataBricks(NamedTuple):
    """The bound bricks of `config.data`: the source of records, their decoder, the augmentation.

    Sources are opened at their first call: listing a large folder takes minutes.
    """

    train: Callable[[], Any]
    decode: Callable[..., Any]
    augment: Callable[..., Any]


class EvalBricks(NamedTuple):
    """The bound bricks of `config.evals`; train and test are None without labelled images.

    Sources are opened at their first call, as those of `DataBricks`.
    """

    train: Callable[[], Any] | None
    test: Callable[[], Any] | None
    decode: Callable[..., Any]
    transform: Callable[..., Any]
    probes: Mapping[str, Callable[..., Any]]
    measures: Mapping[str, Callable[..., Any]]


class Assembly(NamedTuple):
    """The parts of a training, built from its config; no data are opened.

    span:     the length of the training.
    schedule: step -> factor of the peak learning rate.
    peak:     the peak learning rate after scaling with the batch.
    shapes, frozen_shapes: jax.ShapeDtypeStruct of the state and of the frozen variables.
    shardings: where each array of the state lies on the mesh.
    data, evals: bound bricks.
    modalities: the kind of each stream by name, the main one first: how it is shown.
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
    shardings: State
    data: DataBricks
    evals: EvalBricks
    modalities: Mapping[str, Modality]


def picture_channels(config: ConfigDict, spec: Spec) -> tuple[int, ...]:
    """Return the channels that pictures show as red, green and blue, or one as grey; () for any.

    Raises UserError for channels that the input lacks.
    """
    chosen = config.log.picture_channels
    numbers = {name: number for number, name in enumerate(spec.names)}
    numbers |= {str(number): number for number in range(spec.channels)}
    unknown = [str(name) for name in chosen if str(name) not in numbers]
    if unknown or len(chosen) not in (0, 1, 3):
        names = f" or one of {', '.join(spec.names)}" if spec.names else ""
        raise UserError(
            f"log.picture_channels is {', '.join(map(str, chosen))}: give three channels (or one, "
            f"for grey), each a number from 0 to {spec.channels - 1}{names}"
        )
    return tuple(numbers[str(name)] for name in chosen)


def evaluated_streams(config: ConfigDict, spec: Spec) -> tuple[str, ...]:
    """Return the streams that enter the encoder of an evaluation, in the order of the spec.

    Raises UserError for a name that is no stream of the input.
    """
    chosen = config.evals.streams or tuple(spec.arrays)
    if unknown := [name for name in chosen if name not in spec.arrays]:
        raise UserError(
            f"evals.streams names {unknown[0]!r}, but the streams of the input are "
            f"{', '.join(spec.arrays)}: name some of these, or () for all"
        )
    return tuple(name for name in spec.arrays if name in chosen)


def build_modalities(config: ConfigDict, spec: Spec) -> dict[str, Modality]:
    """Return the kind of each stream by name, the main one first."""
    sections = {spec.stream: ("input.kind", config.input.kind)}
    for name in sorted(spec.streams):
        sections[name] = (f"input.streams.{name}.kind", config.input.streams[name].kind)
    kinds = {}
    for name, (key, section) in sections.items():
        make = bind(section, key)
        kinds[name] = returned(make(), Modality, f"{key}.brick", make)
    return kinds


def build_method(config: ConfigDict) -> tuple[Spec, Method]:
    """Build the method of a config: call its function with the sections that its keywords name.

    Raises UserError where the function has a keyword that the config has no section for.
    """
    spec = spec_of(config)
    compose = resolve(config.method)
    sections = {}
    for name, parameter in inspect.signature(compose).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        if name not in config:
            raise UserError(f"{config.method} needs the section {name!r}, which the config lacks")
        sections[name] = bind(config[name], name)
    method = returned(compose(spec, **sections), Method, "method", compose)
    if config.ema is not None:
        method = averaged(method, bind(config.ema, "ema"))
    method.check_apply()
    return spec, method


def span_of(config: ConfigDict, examples: int) -> Span:
    """Return the length of a training; an epoch is every record once, `data.repeats` times.

    examples: number of records.

    Raises UserError for more steps than an i32 counts.
    """
    per_epoch = examples * config.data.repeats / config.train.batch_size
    steps = max(1, round(config.train.epochs * per_epoch))
    if steps > MOST_STEPS:
        raise UserError(
            f"train.epochs={config.train.epochs:g} of {examples:,} examples are {steps:,} steps; "
            f"steps are counted up to {MOST_STEPS:,}: train for fewer epochs"
        )
    return Span(steps, per_epoch)


def build_optimiser(config: ConfigDict, examples: int) -> optax.GradientTransformation:
    """Build the optimiser of a training on `examples` examples."""
    span = span_of(config, examples)
    make = bind(config.optim, "optim")
    made = make(Timed(span, build_schedule(config, span)), config.train.batch_size)
    return returned(made, optax.GradientTransformation, "optim.brick", make)


def build_schedule(config: ConfigDict, span: Span) -> Schedule:
    """Build the schedule of a training, step -> factor of the peak learning rate."""
    make = bind(config.schedule, "schedule")
    return returned(make(span), Callable, "schedule.brick", make)


def build_rules(config: ConfigDict) -> sharding.Rules:
    """Return the sharding rules that `mesh.rules` names; UserError where they are none."""
    function = resolve(config.mesh.rules)
    rules = returned(function(), (tuple, list), "mesh.rules", function)
    for rule in rules:
        pair = isinstance(rule, tuple | list) and len(rule) == 2
        if not (pair and isinstance(rule[0], str) and isinstance(rule[1], tuple | list)):
            raise UserError(
                f"mesh.rules ({config.mesh.rules}) returned {rule!r} among its rules: each is "
                "(pattern of a path, (axis or None for each dimension))"
            )
    return rules


def assemble(
    config: ConfigDict, examples: int, devices: Sequence[jax.Device] | None = None
) -> Assembly:
    """Build everything of a training but its data and its state.

    examples: size of the training set. devices: of the mesh; None for all devices.
    Nothing is computed or allocated on a device. Raises UserError for a value that is out of
    range, for bricks that do not fit, and for parts that do not fit together.
    """
    check_config(config)
    check_repeats(config.train.batch_size, config.data.repeats, jax.process_count())
    spec, method = build_method(config)
    picture_channels(config, spec)
    evaluated_streams(config, spec)
    span = span_of(config, examples)
    schedule = build_schedule(config, span)
    optimiser = build_optimiser(config, examples)
    # A run that began before an axis was there has none in its config.
    sizes = {axis: config.mesh[axis] for axis in sharding.AXES if axis in config.mesh}
    mesh = sharding.make_mesh(sizes, devices)
    sharding.check_batch(mesh, config.train.batch_size, config.train.micro_batches)
    key = random_key(config.seed)
    shapes = jax.eval_shape(lambda k: initial_state(method, optimiser, k), key)
    frozen = jax.eval_shape(method.freeze)
    shardings = sharding.state_shardings(shapes, optimiser, build_rules(config), mesh)
    top = peak_learning_rate(config.optim.lr, config.optim.lr_per, config.train.batch_size)
    data, evals = bind_data(config), bind_evals(config)
    kinds = build_modalities(config, spec)
    layout = mesh, span, schedule, top, shapes, frozen, shardings
    return Assembly(spec, method, optimiser, *layout, data, evals, kinds)


def bind_data(config: ConfigDict) -> DataBricks:
    """Return the bound bricks of `config.data`."""
    data = config.data
    return DataBricks(_opened_once(data.train), bind(data.decode), bind(data.augment))


def bind_evals(config: ConfigDict) -> EvalBricks:
    """Return the bound bricks of `config.evals`; a decoder that is None is that of the data."""
    evals = config.evals
    return EvalBricks(
        _opened_once(evals.train),
        _opened_once(evals.test),
        bind(config.data.decode if evals.decode is None else evals.decode),
        bind(evals.transform),
        bind(evals.probes),
        bind(evals.measures, "evals.measures"),
    )


def _opened_once(source: ConfigDict | None) -> Callable[[], Any] | None:
    return None if source is None else functools.cache(bind(source))


def init_sharded(parts: Assembly, seed: int) -> tuple[State, Tree]:
    """Return the initial state, each array made where it lives, and replicated frozen variables."""
    frozen = freeze(parts)
    return init_state(parts, seed), frozen


def init_state(parts: Assembly, seed: int) -> State:
    """Return the initial state, each array made where it lives."""
    make = jax.jit(
        lambda key: initial_state(parts.method, parts.optimiser, key), out_shardings=parts.shardings
    )
    return make(random_key(seed))


def freeze(parts: Assembly) -> Tree:
    """Return the frozen variables, on every device."""
    whole = sharding.replicated(parts.mesh)
    return jax.tree.map(lambda array: replicate(array, whole), parts.method.freeze())


def replicate(array: Array, whole: NamedSharding) -> Array:
    """Put an array that every process has on all devices of a mesh."""
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, whole, lambda index: host[index])


def jitted_step(config: ConfigDict, parts: Assembly) -> TrainStep:
    """Return the jitted train step; it donates the state and keeps it laid out on the mesh."""
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
        in_shardings=(parts.shardings, whole, sharding.by_example(parts.mesh)),
        out_shardings=(parts.shardings, whole),
        donate_argnums=0,
    )
