"""Choosing one value of a sweep, such as a learning rate, on held-out training images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from maskmim.errors import count_of
from maskmim.evals.features import FeatureError, Features, Unsuitable

ByLabels = Mapping[str, tuple[float, ...]]
# Top-1 and mean cross-entropy of each label set, f32[L] by value of the sweep.
Scores = Mapping[str, tuple[np.ndarray, np.ndarray]]


class Fitted(NamedTuple):
    """Classifiers of the chosen values, trained on all training images.

    classifiers: as `train_on` of `fit_best` returns them, of one value for each label set.
    values:      {label set: the chosen value}.
    held_out:    {label set: its top-1 on the held-out images}.
    """

    classifiers: Any
    values: dict[str, float]
    held_out: dict[str, float]


def fit_best(
    values: tuple[float, ...],
    classes: Collection[str],
    rows: tuple[np.ndarray, np.ndarray],
    train_on: Callable[[np.ndarray, ByLabels], Any],
    score: Callable[[Any, np.ndarray], Scores],
) -> Fitted:
    """Choose a value for each label set on held-out images, and train with it on all images.

    values:   the sweep, learning rates or values of another keyword. classes: the label sets.
    rows:     indices of training images, for fitting and held out; both together are all.
    train_on: (rows, {label set: values}) -> classifiers, one for each value.
    score:    (classifiers, rows of the training images) -> Scores.
    Raises Unsuitable where no value stays finite.
    """
    fitted, held = rows
    scores = score(train_on(fitted, {name: values for name in classes}), held)
    best = {name: best_index(*scores[name]) for name in classes}
    chosen = {name: float(values[best[name]]) for name in classes}
    everything = np.sort(np.concatenate(rows))
    classifiers = train_on(everything, {name: (chosen[name],) for name in classes})
    return Fitted(classifiers, chosen, {name: float(scores[name][0][best[name]]) for name in best})


def tested(
    title: str, fitted: Fitted, scores: Scores, chosen: str = "lr"
) -> Iterator[tuple[str, float]]:
    """Yield the metrics of a probe: top-1 on test images, the chosen value, top-1 held out.

    title: of the metrics. scores: of the test images. chosen: name of the value in the metrics.
    Raises Unsuitable where the last training diverged.
    """
    for name, (top1, loss) in scores.items():
        value = fitted.values[name]
        if not np.isfinite(loss[0]):
            raise Unsuitable(diverged(value, chosen))
        yield f"{title}/{name}/top1", float(top1[0])
        yield f"{title}/{name}/{chosen}", value
        yield f"{title}/{name}/held_out", fitted.held_out[name]


def diverged(value: float, chosen: str = "lr") -> str:
    """Return the sentence of a training that is not finite."""
    return f"{chosen} {value:g} diverged on all training images: leave it out of the sweep"


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
