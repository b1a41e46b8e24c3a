"""Training of classifiers of patch tokens, all learning rates in parallel."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from maskmim.evals.attentive_heads import Head
from maskmim.evals.patch_tokens import PatchTokens, padded_rows
from maskmim.evals.probe_training import Labels, Optimiser, Plan
from maskmim.evals.rate_sweep import Scores
from maskmim.types import Array, Tree, random_key


class Learner(NamedTuple):
    """The classifiers of all L learning rates of a label set; leaves have L as their first axis."""

    params: Tree
    stats: Tree
    state: Tree


Learners = dict[str, Learner]


class Trainer(NamedTuple):
    """The static part of a training."""

    head: Head
    solver: Optimiser
    plan: Plan

    def optimiser(self, rate: Array) -> optax.GradientTransformation:
        """Return the optimiser of one peak learning rate."""
        schedule = self.plan.schedule
        return self.solver(lambda step: rate * schedule(step))


def train_learners(
    trainer: Trainer,
    tokens: PatchTokens,
    rows: np.ndarray,
    rates: Labels,
    counts: Mapping[str, int],
    width: int,
    seed: int,
) -> Learners:
    """Train the classifiers of all learning rates and label sets on the same batches of tokens.

    rows:   indices of the images. rates: {label set: f32[L]} peak learning rates.
    counts: {label set: classes}. width: D of tokens.
    Learning rates share the initial weights, and label sets the order of the images, another one in
    each epoch.
    """
    key, plan = random_key(seed), trainer.plan
    learners: Learners = {}
    for place, name in enumerate(sorted(counts)):
        params, stats = trainer.head.init(jax.random.fold_in(key, place), width, counts[name])
        learners[name] = begin_learners(trainer, rates[name], params, stats)
    for epoch in range(plan.epochs):
        shuffled = np.random.default_rng((seed, epoch)).permutation(rows)
        order = shuffled[: plan.steps * plan.batch]
        batches = tokens.read(order, plan.batch)
        for indices, batch in zip(padded_rows(order, plan.batch), batches, strict=True):
            labels = {name: tokens.labels[name][indices] for name in counts}
            learners = learn(trainer, learners, rates, batch, labels)
    return learners


def begin_learners(trainer: Trainer, rates: Array, params: Tree, stats: Tree) -> Learner:
    """Return the classifiers of all learning rates before training, from equal weights."""
    states = jax.vmap(lambda rate: trainer.optimiser(rate).init(params))(rates)
    params, stats = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(rates)), (params, stats))
    return Learner(params, stats, states)


@functools.partial(jax.jit, static_argnames="trainer")
def learn(
    trainer: Trainer, learners: Learners, rates: Labels, tokens: Array, labels: Labels
) -> Learners:
    """Return the classifiers after a step on a batch f16[b, K, D], {label set: i32[b]}."""
    tokens = tokens.astype(jnp.float32)

    def update(rate: Array, learner: Learner, targets: Array) -> Learner:
        def loss(params: Tree) -> tuple[Array, Tree]:
            logits, stats = trainer.head.train(params, learner.stats, tokens)
            return cross_entropies(logits, targets).mean(), stats

        gradient, stats = jax.grad(loss, has_aux=True)(learner.params)
        updates, state = trainer.optimiser(rate).update(gradient, learner.state, learner.params)
        return Learner(optax.apply_updates(learner.params, updates), stats, state)

    sweep = jax.vmap(update, (0, 0, None))
    return {name: sweep(rates[name], learners[name], labels[name]) for name in learners}


def cross_entropies(logits: Array, labels: Array) -> Array:
    """Return the cross-entropy of each image: f32[b, C], i32[b] -> f32[b]."""
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)


def score_learners(
    head: Head, learners: Learners, tokens: PatchTokens, rows: np.ndarray, size: int
) -> Scores:
    """Return top-1 and mean cross-entropy of each learning rate, f32[L], by label set.

    rows: indices of the images. size: images that are classified at a time.
    """
    found: dict[str, list[Array]] = {name: [] for name in learners}
    batches = tokens.read(rows, size)
    for number, (indices, batch) in enumerate(zip(padded_rows(rows, size), batches, strict=True)):
        counted = np.arange(size) < len(rows) - number * size
        for name, learner in learners.items():
            labels = tokens.labels[name][indices]
            found[name].append(_score(head, learner, batch, labels, counted))
    sums = {name: np.sum([np.asarray(each) for each in found[name]], axis=0) for name in found}
    return {name: (values[0] / len(rows), values[1] / len(rows)) for name, values in sums.items()}


@functools.partial(jax.jit, static_argnames="head")
def _score(head: Head, learner: Learner, tokens: Array, labels: Array, counted: Array) -> Array:
    """Return how many images are correct, and the sum of cross-entropies, f32[2, L] by rate."""
    tokens = tokens.astype(jnp.float32)

    def score(params: Tree, stats: Tree) -> Array:
        logits = head.test(params, stats, tokens)
        is_correct = (logits.argmax(axis=-1) == labels) & counted
        losses = jnp.where(counted, cross_entropies(logits, labels), 0.0)
        return jnp.stack([is_correct.sum().astype(jnp.float32), losses.sum()])

    return jax.vmap(score, out_axes=1)(learner.params, learner.stats)
