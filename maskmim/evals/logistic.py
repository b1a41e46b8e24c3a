"""Logistic regression by L-BFGS: a linear classifier at the minimum of its loss."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from maskmim.evals.probe_training import EXACT, cross_entropy
from maskmim.types import Array, Tree

# The largest entry of a gradient at which the search ends, as of scikit-learn's 'lbfgs'.
TOLERANCE = 1e-4
MEMORY = 10


class Standardised(NamedTuple):
    """The mean and the deviation of features, f32[D]."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Standardised:
        """Return those of f32[n, D]; a constant feature has the deviation 1."""
        mean, deviation = (f(axis=0, dtype=np.float64) for f in (features.mean, features.std))
        deviation = np.where(deviation > 0, deviation, 1.0)
        return cls(mean.astype(np.float32), deviation.astype(np.float32))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return f32[n, D] with the mean 0 and the deviation 1 of the features it was made of."""
        return (features - self.mean) / self.deviation


class Fitted(NamedTuple):
    """A classifier.

    layer: {'kernel': f32[D, C], 'bias': f32[C]}. gradient: f32[], the largest entry of the last
    gradient. steps: i32[] of L-BFGS.
    """

    layer: Tree
    gradient: Array
    steps: Array


@functools.partial(jax.jit, static_argnames=("classes", "most_steps"))
def fit(
    features: Array,
    labels: Array,
    penalty: Array,
    counted: Array | None = None,
    *,
    classes: int,
    most_steps: int,
) -> Fitted:
    """Fit multinomial logistic regression: f32[n, D], i32[n] -> Fitted.

    Minimises the mean cross-entropy + penalty / (2 n) |kernel|^2; the bias has no penalty. It is
    scikit-learn's LogisticRegression with C = 1 / penalty, from zero, to the same tolerance.
    penalty:    f32[], above 0.
    counted:    bool[n], the rows that are fitted, whose number is n above; None for all.
    most_steps: of L-BFGS, whose line search may evaluate the loss several times a step.
    """
    width = features.shape[1]
    count = len(features) if counted is None else counted.sum()

    def loss(layer: Tree) -> Array:
        size = jnp.sum(layer["kernel"] ** 2)
        return cross_entropy(layer, features, labels, counted) + penalty / (2 * count) * size

    solver = optax.lbfgs(memory_size=MEMORY)
    value_and_gradient = optax.value_and_grad_from_state(loss)

    def largest(state: Tree) -> Array:
        return optax.tree.norm(optax.tree.get(state, "grad"), ord=jnp.inf)

    def is_unfinished(carry: tuple[Tree, Tree]) -> Array:
        steps = optax.tree.get(carry[1], "count")
        return (steps == 0) | ((steps < most_steps) & (largest(carry[1]) > TOLERANCE))

    def step(carry: tuple[Tree, Tree]) -> tuple[Tree, Tree]:
        layer, state = carry
        value, gradient = value_and_gradient(layer, state=state)
        updates, state = solver.update(
            gradient, state, layer, value=value, grad=gradient, value_fn=loss
        )
        return optax.apply_updates(layer, updates), state

    zero = {"kernel": jnp.zeros((width, classes)), "bias": jnp.zeros(classes)}
    layer, state = jax.lax.while_loop(is_unfinished, step, (zero, solver.init(zero)))
    return Fitted(layer, largest(state), optax.tree.get(state, "count"))


def score(layer: Mapping[str, Array], features: np.ndarray, labels: np.ndarray) -> float:
    """Return the top-1 of a classifier on f32[n, D], i32[n]."""
    logits = jnp.matmul(features, layer["kernel"], precision=EXACT) + layer["bias"]
    return float(np.mean(np.asarray(logits.argmax(axis=-1)) == labels))
