"""MAE's linear probe on stored features, with the learning rate chosen on training images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import jax.numpy as jnp
import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import NonNegative, OpenFraction, PositiveInt, Rates, Seed
from maskmim.evals.features import Features, Split
from maskmim.evals.probe_optimisers import lars, sgd
from maskmim.evals.probe_training import (
    Optimiser,
    Protocol,
    Sweep,
    score_sweep,
    train_sweep,
    training_plan,
)
from maskmim.evals.rate_sweep import (
    ByLabels,
    Fitted,
    Scores,
    check_measurable,
    fit_best,
    stratified_split,
    tested,
)
from maskmim.types import random_key

Metrics = Iterator[tuple[str, float]]


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
    fitted = fit(train, classes, optimiser, base_lrs, protocol, held_out, seed)
    rows = np.arange(len(test.features))
    scores = {name: score_sweep(fitted.classifiers, name, test, rows) for name in classes}
    return tested(title, fitted, scores)


def fit(
    train: Split,
    classes: Mapping[str, tuple[str, ...]],
    optimiser: Optimiser,
    base_lrs: tuple[float, ...],
    protocol: Protocol,
    held_out: float,
    seed: int,
) -> Fitted:
    """Train a linear probe as `linear_probe` says; return a Sweep of one rate for each label set.

    Raises Unsuitable where no image can be held out and where no rate stays finite.
    """

    def train_on(rows: np.ndarray, lrs: ByLabels) -> Sweep:
        part = Split(train.features[rows], _take_rows(train.labels, rows))
        plan = training_plan(len(rows), protocol)
        rates = {name: jnp.asarray(lrs[name], jnp.float32) * (plan.batch / 256) for name in lrs}
        counts = tuple((name, len(classes[name])) for name in sorted(classes))
        return train_sweep(
            *part, rates, random_key(seed), classes=counts, plan=plan, solver=optimiser
        )

    def score(sweep: Sweep, rows: np.ndarray) -> Scores:
        return {name: score_sweep(sweep, name, train, rows) for name in classes}

    finest = max(classes, key=lambda name: len(classes[name]))
    rows = stratified_split(train.labels[finest], share=held_out, seed=seed)
    return fit_best(base_lrs, classes, rows, train_on, score)


def _take_rows(labels: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.asarray(values)[rows] for name, values in labels.items()}
