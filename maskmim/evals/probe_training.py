"""Training of the linear probe: BatchNorm and one linear layer, all learning rates in parallel."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from maskmim.evals.features import FeatureError, Split, Unsuitable
from maskmim.schedules.warmup import Schedule, Span, warmup_cosine
from maskmim.types import Array, Tree

EPSILON = 1e-6
BN_MOMENTUM = 0.1
EXACT = jax.lax.Precision.HIGHEST
Labels = Mapping[str, Array]
ClassCounts = tuple[tuple[str, int], ...]
Optimiser = Callable[[Schedule], optax.GradientTransformation]


class Protocol(NamedTuple):
    """The training settings that do not depend on the number of images; see `linear_probe`."""

    epochs: int
    warmup_epochs: float
    batch_size: int
    least_steps: int


class Plan(NamedTuple):
    """Static numbers of one training: batch size, steps per epoch, epochs, warm-up epochs."""

    batch: int
    steps: int
    epochs: int
    warmup_epochs: float

    @property
    def schedule(self) -> Schedule:
        """Return the schedule: step -> factor of the peak learning rate."""
        span = Span(self.steps * self.epochs, self.steps)
        return warmup_cosine(span, warmup_epochs=self.warmup_epochs)


def training_plan(count: int, protocol: Protocol) -> Plan:
    """Return the plan for `count` training images.

    The batch size is min(batch_size, count // least_steps).
    Raises Unsuitable for fewer than two images in a batch (BatchNorm needs two) and FeatureError
    where the warm-up does not end before the training.
    """
    epochs, warmup_epochs, batch_size, least_steps = protocol
    if not 0 <= warmup_epochs < epochs:
        raise FeatureError(
            f"a probe: warmup_epochs = {warmup_epochs} must be shorter than epochs = {epochs}"
        )
    batch = min(batch_size, count // least_steps)
    if batch < 2:
        raise Unsuitable(
            f"a probe with least_steps = {least_steps} needs {2 * least_steps} training "
            f"images beside the held-out ones, this set has {count}: lower least_steps, or name a "
            "larger set in evals.train"
        )
    return Plan(batch, count // batch, epochs, warmup_epochs)


class Sweep(NamedTuple):
    """The classifiers of all L learning rates and their common BatchNorm.

    params:   {label set: {'kernel': f32[L, D, C], 'bias': f32[L, C]}}.
    mean, variance: f32[D] running statistics.
    """

    params: Tree
    mean: Array
    variance: Array


@functools.partial(jax.jit, static_argnames=("classes", "plan", "solver"))
def train_sweep(
    features: Array,
    labels: Labels,
    rates: Labels,
    key: Array,
    *,
    classes: ClassCounts,
    plan: Plan,
    solver: Optimiser,
) -> Sweep:
    """Train the classifiers of all learning rates: f32[n, D], {label set: i32[n]} -> Sweep.

    rates: {label set: f32[L]} peak learning rates.
    Learning rates share the initial weights, the order of the images and the BatchNorm, which is
    the same for all as features are frozen; label sets share the last two. Each epoch draws another
    order.
    """
    features = jnp.asarray(features, jnp.float32)
    width, schedule = features.shape[1], plan.schedule

    def optimiser(rate: Array) -> optax.GradientTransformation:
        return solver(lambda step: rate * schedule(step))

    def initial_learner(rate: Array, layer: Tree) -> tuple[Tree, Tree]:
        return layer, optimiser(rate).init(layer)

    def update(rate: Array, learner: tuple[Tree, Tree], inputs: Array, targets: Array):
        params, state = learner
        gradient = jax.grad(cross_entropy)(params, inputs, targets)
        updates, state = optimiser(rate).update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    def step(carry: tuple, rows: Array):
        learners, mean, variance = carry
        inputs, mean, variance = batch_norm(features[rows], mean, variance)
        sweep = jax.vmap(update, (0, 0, None, None))
        learners = {
            name: sweep(rates[name], learner, inputs, labels[name][rows])
            for name, learner in learners.items()
        }
        return (learners, mean, variance), None

    def epoch(carry: tuple, number: Array):
        order = jax.random.permutation(jax.random.fold_in(key, number), len(features))
        rows = order[: plan.steps * plan.batch].reshape(plan.steps, plan.batch)
        return jax.lax.scan(step, carry, rows)[0], None

    layers = initial_layers(jax.random.fold_in(key, 0), width, classes)
    begin = jax.vmap(initial_learner, (0, None), 0)
    learners = {name: begin(rates[name], layer) for name, layer in layers.items()}
    carry = (learners, jnp.zeros(width), jnp.ones(width))
    (learners, mean, variance), _ = jax.lax.scan(epoch, carry, jnp.arange(1, plan.epochs + 1))
    return Sweep({name: layer for name, (layer, _) in learners.items()}, mean, variance)


def initial_layers(key: Array, width: int, classes: ClassCounts) -> Tree:
    """Return kernels N(0, .01) f32[D, C] and zero biases f32[C] of each label set."""
    keys = jax.random.split(key, len(classes))
    return {
        name: {
            "kernel": 0.01 * jax.random.normal(k, (width, count), jnp.float32),
            "bias": jnp.zeros(count),
        }
        for k, (name, count) in zip(keys, classes, strict=True)
    }


def batch_norm(batch: Array, mean: Array, variance: Array) -> tuple[Array, Array, Array]:
    """Return the normalised batch f32[b, D] and the new running mean and variance f32[D].

    As torch's BatchNorm1d without affine part: divides the batch by its biased deviation and
    updates the running variance with the unbiased one, momentum .1.
    """
    centre, spread = batch.mean(axis=0), batch.var(axis=0)
    unbiased = spread * (len(batch) / (len(batch) - 1))
    normalised = (batch - centre) * jax.lax.rsqrt(spread + EPSILON)
    mean = (1 - BN_MOMENTUM) * mean + BN_MOMENTUM * centre
    return normalised, mean, (1 - BN_MOMENTUM) * variance + BN_MOMENTUM * unbiased


def normalise(rows: Array, mean: Array, variance: Array) -> Array:
    """Return rows f32[..., D] by the running statistics f32[D], as BatchNorm in evaluation."""
    return (rows - mean) * jax.lax.rsqrt(variance + EPSILON)


def cross_entropy(layer: Tree, inputs: Array, labels: Array, counted: Array | None = None) -> Array:
    """Return the mean cross-entropy of one linear layer: f32[b, D], i32[b] -> f32[].

    counted: bool[b], the rows of the mean; None for all.
    """
    logits = jnp.matmul(inputs, layer["kernel"], precision=EXACT) + layer["bias"]
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(where=counted)


def logits_of(sweep: Sweep, name: str, features: Array) -> Array:
    """Return the logits of a label set by each learning rate: f32[n, D] -> f32[L, n, C]."""
    inputs = (jnp.asarray(features) - sweep.mean) * jax.lax.rsqrt(sweep.variance + EPSILON)
    layer = sweep.params[name]
    products = jnp.einsum("nd,ldc->lnc", inputs, layer["kernel"], precision=EXACT)
    return products + layer["bias"][:, None]


def score_sweep(
    sweep: Sweep, name: str, split: Split, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return top-1 and mean cross-entropy of each learning rate, f32[L], on rows of a split."""
    layer = sweep.params[name]
    labels = split.labels[name][rows]
    correct, loss = _score(layer, sweep.mean, sweep.variance, split.features[rows], labels)
    return np.asarray(correct) / len(rows), np.asarray(loss) / len(rows)


@jax.jit
def _score(layer: Tree, mean: Array, variance: Array, features: Array, labels: Array):
    def score_example(example: tuple[Array, Array]) -> tuple[Array, Array]:
        row, label = example
        inputs = normalise(row, mean, variance)
        logits = jnp.einsum("d,ldc->lc", inputs, layer["kernel"], precision=EXACT) + layer["bias"]
        loss = optax.losses.softmax_cross_entropy_with_integer_labels(
            logits, jnp.broadcast_to(label, logits.shape[:1])
        )
        return (logits.argmax(axis=-1) == label).astype(jnp.int32), loss

    correct, loss = jax.lax.map(score_example, (features, labels), batch_size=1024)
    return correct.sum(axis=0), loss.sum(axis=0)
