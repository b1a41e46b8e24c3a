"""A head on frozen maps of features, trained on crops: the dense sibling of the linear probe."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from maskmim.config.ranges import Fraction, LearningRate, NonNegative, PositiveInt, Seed
from maskmim.evals.dense.feature_moments import Moments, moments_of
from maskmim.evals.dense.problem import FrozenEncoder, Predict, Problem, Task
from maskmim.evals.features import Unsuitable
from maskmim.evals.trained import put_everywhere
from maskmim.models.dense_heads import Maps, Shapes, linear, resized
from maskmim.models.feature_maps import shapes_of
from maskmim.runtime import activity
from maskmim.schedules.warmup import Span, warmup_cosine
from maskmim.training import sharding
from maskmim.types import Array, LearnedFunction, Tree, random_key

# Batches whose statistics standardise features and amounts.
STATISTICS = 8
State = tuple[Tree, Tree]  # parameters of the head, state of its optimiser


class Programs(NamedTuple):
    """The compiled functions of a head on one kind of maps.

    begin:   key -> State.
    step:    (State, variables, Moments, pictures, targets) -> (State, loss).
    predict: (parameters, variables, Moments, pictures) -> f32[b, h, w, outputs].
    """

    begin: Callable[[Array], State]
    step: Callable[..., tuple[State, Array]]
    predict: Callable[..., Array]


def trained_head(
    problem: Problem,
    *,
    head: Callable[[Shapes, int], LearnedFunction] = linear,
    lr: LearningRate = 3e-3,
    steps: PositiveInt = 200,
    batch_size: PositiveInt = 16,
    warmup: Fraction = 0.1,
    weight_decay: NonNegative = 1e-4,
    seed: Seed = 0,
) -> dict[str, Predict]:
    """Train a head on the crops of a problem for each encoder, which stays as it is.

    head:       brick, (shapes of the maps, outputs) -> LearnedFunction, see `models.dense_heads`.
    lr, weight_decay: of AdamW, with a linear warm-up over the share `warmup` of the steps, then
                half a cosine to 0.
    steps, batch_size: crops that are learnt from; every encoder sees the same ones.
    seed:       of the crops and the initial weights.
    The loss is taken at the resolution of the crop, to which the head's output is resized.
    Maps are standardised by the mean and deviation of each channel over the first 8 batches, as
    batch norm without affine part does in MAE's linear probe, and so are amounts: heads learn alike
    on features of any scale. Values are ours; for published protocols give their steps and rates.
    Raises Unsuitable where there are fewer examples than a batch, and where a head diverges.
    """
    if problem.count < batch_size:
        raise Unsuitable(
            f"there are {problem.count} examples to learn from, fewer than batch_size={batch_size} "
            "of the head: lower it, or name more in `data.train`"
        )
    schedule = warmup_cosine(Span(steps, steps), warmup_epochs=warmup)
    optimiser = optax.adamw(lambda step: lr * schedule(step), weight_decay=weight_decay)
    statistics = {"batch_size": batch_size, "batches": STATISTICS, "seed": seed}

    @functools.cache
    def programs_of(maps: Callable[[Tree, Array], Maps], shapes: Shapes) -> Programs:
        made = head(shapes, problem.task.outputs)
        return _programs(problem, maps, made, optimiser)

    learners, (pictures, _) = {}, next(problem.crops(1, seed))
    for name, encoder in problem.encoders.items():
        moments = moments_of(problem, encoder, **statistics)
        shapes = shapes_of(jax.eval_shape(encoder.maps, encoder.variables, pictures))
        learners[name] = programs_of(encoder.maps, shapes), moments, encoder
    states = {name: programs.begin(random_key(seed)) for name, (programs, *_) in learners.items()}
    losses: dict[str, Array] = {}
    crops = itertools.islice(problem.crops(batch_size, seed), steps)
    for batch in activity.counted(crops, steps * batch_size, batch_size):
        pictures, targets = put_everywhere(batch, problem.mesh)
        for name, (programs, moments, encoder) in learners.items():
            states[name], losses[name] = programs.step(
                states[name], encoder.variables, moments, pictures, targets
            )
    if diverged := [name for name, loss in losses.items() if not np.isfinite(loss)]:
        where = ", ".join(name or "the trained encoder" for name in diverged)
        raise Unsuitable(f"the head on {where} diverged: lower lr={lr:g}")
    return {
        name: _predict_by(programs, states[name][0], encoder, moments, problem)
        for name, (programs, moments, encoder) in learners.items()
    }


def _predict_by(
    programs: Programs, params: Tree, encoder: FrozenEncoder, moments: Moments, problem: Problem
) -> Predict:
    def predict(pictures: np.ndarray) -> np.ndarray:
        placed = put_everywhere(pictures, problem.mesh)
        return np.asarray(programs.predict(params, encoder.variables, moments, placed))

    return predict


def _programs(
    problem: Problem,
    maps: Callable[[Tree, Array], Maps],
    head: LearnedFunction,
    optimiser: optax.GradientTransformation,
) -> Programs:
    """Return the compiled functions of a head; everything but pictures is on every device."""
    task: Task = problem.task

    def begin(key: Array) -> State:
        params = head.init(key)
        return params, optimiser.init(params)

    def outputs(params: Tree, given: Maps, moments: Moments, size: tuple[int, int]) -> Array:
        values = resized(head.call(params, moments.standardised(given)), size)
        return values.astype(jnp.float32) * moments.deviation + moments.mean

    def step(
        state: State, variables: Tree, moments: Moments, pictures: Array, targets: Array
    ) -> tuple[State, Array]:
        params, kept = state
        given = jax.lax.stop_gradient(maps(variables, pictures))

        def loss(params: Tree) -> Array:
            predicted = outputs(params, given, moments, pictures.shape[1:3])
            return task.loss(predicted, targets).value / moments.deviation

        value, gradient = jax.value_and_grad(loss)(params)
        updates, kept = optimiser.update(gradient, kept, params)
        return (optax.apply_updates(params, updates), kept), value

    def predict(params: Tree, variables: Tree, moments: Moments, pictures: Array) -> Array:
        return outputs(params, maps(variables, pictures), moments, pictures.shape[1:3])

    whole = sharding.replicated(problem.mesh)
    return Programs(*(jax.jit(each, out_shardings=whole) for each in (begin, step, predict)))
