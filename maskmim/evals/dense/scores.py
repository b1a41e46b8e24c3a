"""Scores of predictions at every pixel: of classes by a confusion matrix, of amounts by sums."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


def confusion(
    truth: np.ndarray, predicted: np.ndarray, classes: int, void: int | None
) -> np.ndarray:
    """Return how many pixels of each class (rows) were given each class (columns): i64[K, K].

    truth, predicted: indices of one shape. Pixels whose true class is void or beyond the classes
    do not count.
    """
    truth, predicted = truth.ravel().astype(np.int64), predicted.ravel().astype(np.int64)
    counts = (truth >= 0) & (truth < classes)
    if void is not None:
        counts &= truth != void
    pairs = truth[counts] * classes + predicted[counts]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


class ClassScores(NamedTuple):
    """Scores of classes, shares in [0, 1]; NaN where no pixel counts.

    miou: mean over the classes that are true or predicted anywhere of intersection over union.
    pixel_accuracy: share of pixels that are right.
    class_accuracy: mean over true classes of the share of their pixels that are right.
    """

    miou: float
    pixel_accuracy: float
    class_accuracy: float


def class_scores(matrix: np.ndarray) -> ClassScores:
    """Return the scores of a confusion matrix i64[K, K] of a whole set.

    Source: mmsegmentation's IoUMetric, which counts pixels of all pictures together, and leaves out
    classes without a pixel in either.
    """
    right, true, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    union = true + predicted - right
    return ClassScores(
        _mean_share(right, union),
        _mean_share(right.sum(keepdims=True), true.sum(keepdims=True)),
        _mean_share(right, true),
    )


def _mean_share(part: np.ndarray, whole: np.ndarray) -> float:
    """Return the mean of part / whole where whole is above 0."""
    some = whole > 0
    return float(np.mean(part[some] / whole[some])) if some.any() else float("nan")


class AmountSums(NamedTuple):
    """Sums over pixels whose true amount is above 0."""

    pixels: int = 0
    squares: float = 0.0
    relative: float = 0.0
    close: int = 0

    def with_pair(self, truth: np.ndarray, predicted: np.ndarray, least: float) -> AmountSums:
        """Return the sums with those of a map and its prediction, which is raised to `least`."""
        counts = truth > 0
        truth = truth[counts].astype(np.float64)
        predicted = np.maximum(predicted[counts].astype(np.float64), least)
        ratio = np.maximum(truth / predicted, predicted / truth)
        return AmountSums(
            self.pixels + len(truth),
            self.squares + float(np.sum((predicted - truth) ** 2)),
            self.relative + float(np.sum(np.abs(predicted - truth) / truth)),
            self.close + int(np.sum(ratio < CLOSE)),
        )


# A prediction counts as close where neither amount is this many times the other.
CLOSE = 1.25


class AmountScores(NamedTuple):
    """Scores of amounts: root mean square error, mean relative error, share within 1.25 times."""

    rmse: float
    relative: float
    delta1: float


def amount_scores(sums: AmountSums) -> AmountScores:
    """Return the scores of all pixels of a set together; NaN where no pixel counts.

    Source: Eigen et al. (arXiv 1406.2283), section 4. Difference: over all pixels of the set at
    once, as there; some later codes average over pictures.
    """
    count = sums.pixels or float("nan")
    return AmountScores(
        float(np.sqrt(sums.squares / count)), sums.relative / count, sums.close / count
    )
