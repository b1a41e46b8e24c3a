"""Scores of every pixel against scikit-learn and plain numpy."""

import math

import numpy as np
import pytest
from sklearn import metrics

from maskmim.evals.dense.scores import AmountSums, amount_scores, class_scores, confusion


def maps(seed, classes=6, shape=(30, 20)):
    """Random truth and prediction that agree often."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, shape)
    found = np.where(rng.random(shape) < 0.6, truth, rng.integers(0, classes, shape))
    return truth.astype(np.uint8), found


@pytest.mark.parametrize("void", [None, 5, 255])
def test_the_matrix_is_that_of_scikit_learn(void):
    truth, found = maps(0)
    truth[:3] = 255 if void is None else void
    counts = truth < 6 if void is None else (truth < 6) & (truth != void)
    expected = metrics.confusion_matrix(truth[counts], found[counts], labels=range(6))
    np.testing.assert_array_equal(confusion(truth, found, 6, void), expected)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_scores_are_those_of_scikit_learn():
    truth, found = maps(1)
    truth[truth == 2] = 1  # class 2 is only predicted
    found[found == 4] = 3
    truth[truth == 4] = 3  # class 4 is nowhere
    scores = class_scores(confusion(truth, found, 6, None))
    flat = truth.ravel(), found.ravel()
    assert scores.miou == pytest.approx(metrics.jaccard_score(*flat, average="macro"))
    assert scores.pixel_accuracy == pytest.approx(metrics.accuracy_score(*flat))
    assert scores.class_accuracy == pytest.approx(metrics.balanced_accuracy_score(*flat))


def test_matrices_of_pictures_add_before_shares_are_taken():
    pairs = [maps(seed) for seed in range(3)]
    total = sum(confusion(*pair, 6, None) for pair in pairs)
    joined = [np.concatenate([pair[n].ravel() for pair in pairs]) for n in (0, 1)]
    assert class_scores(total).miou == pytest.approx(
        metrics.jaccard_score(*joined, average="macro")
    )


def test_scores_of_nothing_are_nan():
    assert all(map(math.isnan, class_scores(np.zeros((3, 3), int))))
    assert all(map(math.isnan, amount_scores(AmountSums())))


def test_amounts_are_compared_pixel_by_pixel():
    rng = np.random.default_rng(0)
    pairs = [(rng.uniform(1, 4, (5, 7)), rng.uniform(-0.5, 4, (5, 7))) for _ in range(3)]
    pairs[1][0][:2] = 0.0  # not measured
    sums = AmountSums()
    squares, relative, close, count = 0.0, 0.0, 0, 0
    for truth, found in pairs:
        sums = sums.with_pair(truth, found, 0.01)
        for t, f in zip(truth.ravel(), found.ravel(), strict=True):
            if t > 0:
                f = max(f, 0.01)
                squares, relative = squares + (f - t) ** 2, relative + abs(f - t) / t
                close, count = close + (max(f / t, t / f) < 1.25), count + 1
    scores = amount_scores(sums)
    assert scores.rmse == pytest.approx(math.sqrt(squares / count))
    assert scores.relative == pytest.approx(relative / count)
    assert scores.delta1 == pytest.approx(close / count)
