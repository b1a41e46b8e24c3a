"""What evaluations at every place of a picture are made of: encoders, a task, crops to learn from.

A learner is a brick `(problem, *, ...) -> {encoder: predict}`: it learns from crops on top of
frozen encoders, all of them in one pass, and predicts crops of the size of the encoders' input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from maskmim.losses.classification import cross_entropy
from maskmim.models.dense_heads import Maps
from maskmim.types import Array, Mean, Method, Tree

# Pictures f32 or u8[b, h, w, C] -> f32[b, h, w, outputs], numpy.
Predict = Callable[[np.ndarray], np.ndarray]


class FrozenEncoder(NamedTuple):
    """An encoder that is not trained.

    maps:      (variables, pictures [b, h, w, C]) -> maps of features; encoders that share it share
               compiled programs.
    """

    variables: Tree
    maps: Callable[[Tree, Array], Maps]


class Task(NamedTuple):
    """What is predicted of each pixel.

    outputs: numbers for each pixel: logits of classes, or 1 amount.
    loss:    (prediction f32[B, H, W, outputs], target [B, H, W]) -> Mean over pixels that count.
    shares:  target [B, H, W] -> (f32[B, H, W, outputs] of which means are a prediction, weight
             f32[B, H, W] 0 of pixels that do not count).
    is_amount: whether predictions are in units of the target, which learners standardise.
    """

    outputs: int
    loss: Callable[[Array, Array], Mean]
    shares: Callable[[Array], tuple[Array, Array]]
    is_amount: bool


class Problem(NamedTuple):
    """What a learner gets.

    encoders: by name. count: examples to learn from.
    crops:    (batch size, seed) -> endless batches (pictures [b, h, w, C], targets [b, h, w]).
    method:   that was trained, whose own heads may answer.
    """

    encoders: Mapping[str, FrozenEncoder]
    task: Task
    count: int
    crops: Callable[[int, int], Iterator[tuple[np.ndarray, np.ndarray]]]
    mesh: Mesh
    method: Method


Learner = Callable[[Problem], dict[str, Predict]]


def of_classes(classes: int, void: int | None) -> Task:
    """Return the task of finding the class of each pixel, by cross-entropy.

    void: the index of pixels that do not count. If it is among the classes, its logit never wins.
    """

    def known(target: Array) -> Array:
        counts = (target >= 0) & (target < classes)
        return counts if void is None else counts & (target != void)

    def loss(prediction: Array, target: Array) -> Mean:
        counts = known(target)
        values = cross_entropy(_without(prediction, void), jnp.where(counts, target, 0))
        return Mean(jnp.sum(jnp.where(counts, values, 0.0)), jnp.sum(counts.astype(jnp.float32)))

    def shares(target: Array) -> tuple[Array, Array]:
        one_hot = target[..., None] == jnp.arange(classes)
        return one_hot.astype(jnp.float32), known(target).astype(jnp.float32)

    return Task(classes, loss, shares, False)


def _without(prediction: Array, void: int | None) -> Array:
    """Return logits of which that of void is far below the others."""
    if void is None or void >= prediction.shape[-1]:
        return prediction
    return prediction.at[..., void].set(-1e9)


def of_amounts() -> Task:
    """Return the task of finding an amount above 0 for each pixel, by its absolute error.

    Pixels whose target is not above 0 have none, as depth that was not measured, and do not count.
    """

    def loss(prediction: Array, target: Array) -> Mean:
        counts = target > 0
        errors = jnp.where(counts, jnp.abs(prediction[..., 0] - target), 0.0)
        return Mean(jnp.sum(errors), jnp.sum(counts.astype(jnp.float32)))

    def shares(target: Array) -> tuple[Array, Array]:
        return target[..., None].astype(jnp.float32), (target > 0).astype(jnp.float32)

    return Task(1, loss, shares, True)
