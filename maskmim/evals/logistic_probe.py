"""A linear classifier at the minimum of its loss, for data that fit into memory."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import OpenFraction, PositiveInt, Rates, Seed
from maskmim.evals.features import Features, Split
from maskmim.evals.linear_probe import Metrics
from maskmim.evals.logistic import Fitted, Standardised, fit, score
from maskmim.evals.probe_training import cross_entropy
from maskmim.evals.rate_sweep import (
    ByLabels,
    Scores,
    check_measurable,
    fit_best,
    stratified_split,
    tested,
)


class Regressions(NamedTuple):
    """Classifiers of all penalties, by label set, on features of one scale."""

    scale: Standardised
    fitted: dict[str, list[Fitted]]


@facts.probe(needs_labels=True)
def logistic_probe(
    features: Features,
    *,
    penalties: Rates = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
    most_steps: PositiveInt = 500,
    held_out: OpenFraction = 0.2,
    seed: Seed = 0,
) -> Metrics:
    """Yield the top-1 accuracy of logistic regression on frozen features, by L-BFGS.

    The penalty is chosen for each label set on a held-out part of the training split; then the
    classifier is fitted again on the whole of it and tested once.

    penalties:  the sweep, see `logistic.fit`; their number multiplies the time.
    most_steps: of L-BFGS.
    held_out, seed: of the split, as of `linear_probe`.
    Features are standardised by those that are fitted. Every step reads all training images at
    once: `linear_probe` is for more than some 100,000 images.
    Yields ('logistic/<label set>/top1', share in [0, 1]), ('.../penalty', the chosen one) and
    ('.../held_out', its top-1 on the held-out part).
    Raises Unsuitable where labels or images are missing.
    Source: logistic regression with a swept L2 penalty, as CLIP (arXiv 2103.00020, section 3.2) and
    DINOv2 have it for frozen features; the sweep is ours.
    """
    check_measurable(features, "logistic regression")
    train, test, classes = features

    def train_on(rows: np.ndarray, penalties: ByLabels) -> Regressions:
        scale = Standardised.of(train.features[rows])
        inputs = scale(train.features[rows])

        def fit_each(name: str) -> list[Fitted]:
            labels, count = train.labels[name][rows], len(classes[name])
            return [
                fit(inputs, labels, jnp.float32(value), classes=count, most_steps=most_steps)
                for value in penalties[name]
            ]

        return Regressions(scale, {name: fit_each(name) for name in classes})

    def score_on(trained: Regressions, rows: np.ndarray, split: Split = train) -> Scores:
        inputs = trained.scale(split.features[rows])
        found = {}
        for name, fits in trained.fitted.items():
            labels = split.labels[name][rows]
            top1 = np.array([score(each.layer, inputs, labels) for each in fits])
            loss = np.array([cross_entropy(each.layer, inputs, labels) for each in fits])
            found[name] = top1, loss
        return found

    finest = max(classes, key=lambda name: len(classes[name]))
    rows = stratified_split(train.labels[finest], share=held_out, seed=seed)
    best = fit_best(tuple(penalties), classes, rows, train_on, score_on)
    scores = score_on(best.classifiers, np.arange(len(test.features)), test)
    return tested("logistic", best, scores, chosen="penalty")
