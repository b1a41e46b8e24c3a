"""MAE's linear probe on stored features, with the learning rate chosen on training images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import NonNegative, OpenFraction, PositiveInt, Rates, Seed
from maskmim.errors import count_of
from maskmim.evals.features import FeatureError, Features, Split, Unsuitable
from maskmim.evals.probe_optimisers import lars, sgd
from maskmim.evals.probe_training import (
    Optimiser,
    Protocol,
    Sweep,
    score_sweep,
    train_sweep,
    training_plan,
)
from maskmim.types import random_key

Metrics = Iterator[tuple[str, float]]
ByLabels = Mapping[str, tuple[float, ...]]
Scores = Mapping[str, tuple[np.ndarray, np.ndarray]]


@facts.probe(needs_labels=True)
def linear_probe(
    features: Features,
    *,
    base_lrs: Rates = (0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
    epochs: PositiveInt = 90,
    warmup_epochs: NonNegative = 10.0,
    batch_size: PositiveInt = 16_384,
    least_steps: PositiveInt = 8,
    held_out: OpenFraction = 0.2,
    seed: Seed = 0,
) -> Metrics:
    """Yield the top-1 accuracy of a linear classifier on frozen features, trained as in MAE.

    Trains all learning rates at once and chooses the best for each label set on a held-out part of
    the training split; then trains again with it on the whole training split and tests once. Test
    labels are read only for that number.

    base_lrs:      the sweep; the learning rate is base lr * batch size / 256.
    epochs, warmup_epochs: linear warm-up, then half a cosine to 0 at the last step.
    batch_size:    lowered to n // least_steps for few training images n, so that an epoch has at
                   least `least_steps` steps; the incomplete last batch is dropped.
    held_out:      share of the training split for choosing the rate, see `stratified_split`.
    seed:          of the split, the initial weights and the order of the images.
    Yields ('linear/<label set>/top1', share in [0, 1]), ('.../lr', chosen base lr) and
    ('.../held_out', its top-1 on the held-out part). A chosen lr at an end of the sweep means that
    the sweep should be wider.
    Raises Unsuitable where labels or images are missing or no rate stays finite.
    Source: MAE (main_linprobe.py, util/lars.py, util/lr_sched.py; arXiv 2111.06377, appendix A.1):
    BatchNorm without affine part (eps 1e-6), weights N(0, .01), zero bias, LARS, no weight decay,
    90 epochs with 10 of warm-up, batch size 16,384.
    Differences: features are computed once and without augmentation, MAE re-encodes random crops
    and flips in each epoch; the rate is swept on held-out training images, MAE takes 0.1 and its
    log keeps the best epoch on the validation set.
    """
    protocol = Protocol(epochs, warmup_epochs, batch_size, least_steps)
    return _run_probe("linear", features, lars, base_lrs, protocol, held_out, seed)


@facts.probe(needs_labels=True)
def linear_probe_sgd(
    features: Features,
    *,
    base_lrs: Rates = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    epochs: PositiveInt = 90,
    warmup_epochs: NonNegative = 10.0,
    batch_size: PositiveInt = 16_384,
    least_steps: PositiveInt = 8,
    held_out: OpenFraction = 0.2,
    seed: Seed = 0,
) -> Metrics:
    """Yield the accuracy of `linear_probe` trained by SGD with momentum .9 instead of LARS.

    Its learning rates are lower: with LARS they are relative to the norm of the weights. Metrics
    are named 'linear_sgd/<label set>/...'; otherwise as `linear_probe`.
    """
    protocol = Protocol(epochs, warmup_epochs, batch_size, least_steps)
    return _run_probe("linear_sgd", features, sgd, base_lrs, protocol, held_out, seed)


def _run_probe(
    title: str,
    features: Features,
    optimiser: Optimiser,
    base_lrs: tuple[float, ...],
    protocol: Protocol,
    held_out: float,
    seed: int,
) -> Metrics:
    train, test, classes = features
    check_measurable(features, "linear probe")

    def train_on(rows: np.ndarray, lrs: ByLabels) -> Sweep:
        part = Split(train.features[rows], _take_rows(train.labels, rows))
        plan = training_plan(len(rows), protocol)
        rates = {name: jnp.asarray(lrs[name], jnp.float32) * (plan.batch / 256) for name in lrs}
        counts = tuple((name, len(classes[name])) for name in sorted(classes))
        return train_sweep(
            *part, rates, random_key(seed), classes=counts, plan=plan, solver=optimiser
        )

    def score(trained: Sweep, rows: np.ndarray | None) -> Scores:
        split = test if rows is None else train
        rows = np.arange(len(test.features)) if rows is None else rows
        return {name: score_sweep(trained, name, split, rows) for name in classes}

    finest = max(classes, key=lambda name: len(classes[name]))
    rows = stratified_split(train.labels[finest], share=held_out, seed=seed)
    return best_of_sweep(title, base_lrs, classes, rows, train_on, score)


def best_of_sweep(
    title: str,
    base_lrs: tuple[float, ...],
    classes: Collection[str],
    rows: tuple[np.ndarray, np.ndarray],
    train_on: Callable[[np.ndarray, ByLabels], Any],
    score: Callable[[Any, np.ndarray | None], Scores],
    chosen: str = "lr",
) -> Metrics:
    """Choose a learning rate on held-out images, train with it on all and test once.

    title:    of the metrics. classes: names of the label sets.
    base_lrs: learning rates, or values of another keyword; chosen: its name in the metrics.
    rows:     indices of training images, for fitting and held out; both together are all.
    train_on: (rows, {label set: learning rates}) -> classifiers, one for each rate.
    score:    (classifiers, rows of the training split, or None for the whole test split) ->
              {label set: (top-1, mean cross-entropy)}, f32[L] by learning rate.
    Yields as `linear_probe`. Raises Unsuitable where no rate stays finite.
    """
    fitted, held = rows
    scores = score(train_on(fitted, {name: base_lrs for name in classes}), held)
    best = {name: best_index(*scores[name]) for name in classes}
    everything = np.sort(np.concatenate(rows))
    final = score(train_on(everything, {name: (base_lrs[best[name]],) for name in classes}), None)
    for name in classes:
        lr = float(base_lrs[best[name]])
        top1, loss = final[name]
        if not np.isfinite(loss[0]):
            raise Unsuitable(f"{chosen} {lr} diverged on all training images: set others")
        yield f"{title}/{name}/top1", float(top1[0])
        yield f"{title}/{name}/{chosen}", lr
        yield f"{title}/{name}/held_out", float(scores[name][0][best[name]])


def check_measurable(features: Features, probe: str) -> None:
    """Raise Unsuitable where labels or test images are missing; probe: what needs them."""
    if not features.classes:
        raise Unsuitable(
            f"a {probe} needs labels, these images have none: name a labelled set in evals.train "
            "and evals.test"
        )
    if not len(features.test.features):
        raise Unsuitable(
            f"a {probe} needs at least one test image: name a set that is not empty in evals.test"
        )


def stratified_split(
    labels: np.ndarray, *, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices for training and the held-out indices, both ascending, for a seed.

    Sorts the images by class, in random order within each, and holds out evenly spaced ones, so
    that each class gives about its share; one image of each class always stays for training.
    Label sets share one split, stratified by the one with the most classes.
    Raises Unsuitable where no image can be held out, FeatureError for a share outside (0, 1).
    """
    if not 0.0 < share < 1.0:
        raise FeatureError(f"held_out = {share} must be between 0 and 1")
    count = len(labels)
    shuffled = np.random.default_rng(seed).permutation(count)
    ordered = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sorted_labels = labels[ordered]
    spare = ordered[1:][sorted_labels[1:] == sorted_labels[:-1]]
    size = min(max(1, round(share * count)), len(spare))
    if not size:
        raise Unsuitable(
            f"among {count_of(count, 'training image')} no class has two, so none can be held out "
            "to choose the learning rate: name a larger set in evals.train"
        )
    held = spare[(np.arange(size) * len(spare)) // size]
    fitted = np.ones(count, bool)
    fitted[held] = False
    return np.flatnonzero(fitted), np.flatnonzero(~fitted)


def best_index(top1: np.ndarray, loss: np.ndarray) -> int:
    """Return the index of the highest top-1 with a finite loss; of equals the lower loss.

    Raises Unsuitable where every loss has diverged.
    """
    finite = np.isfinite(loss)
    if not finite.any():
        raise Unsuitable("every learning rate of the probe diverged: lower base_lrs")
    ranked = np.lexsort((np.where(finite, loss, np.inf), -np.where(finite, top1, -1.0)))
    return int(ranked[0])


def _take_rows(labels: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.asarray(values)[rows] for name, values in labels.items()}
