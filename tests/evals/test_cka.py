"""Linear CKA against sums over all quadruples of images, and its invariances."""

import itertools

import numpy as np
import pytest

from maskmim.evals.cka import cka, independence, similarities
from maskmim.evals.features import Unsuitable
from tests.evals.small import trained_on


def kernel(features):
    centred = features - features.mean(axis=0)
    return centred @ centred.T


def expected(one, other):
    """HSIC as the mean over all quadruples of different images."""
    terms = [
        one[a, b] * (other[a, b] + other[c, d] - 2 * other[a, c])
        for a, b, c, d in itertools.permutations(range(len(one)), 4)
    ]
    return np.mean(terms)


def test_independence_is_the_mean_over_quadruples():
    rng = np.random.default_rng(0)
    kernels = [kernel(rng.normal(size=(7, 3))) for _ in range(3)]
    hollow = np.stack([each - np.diag(np.diag(each)) for each in kernels])
    found = independence(hollow, hollow[:2])
    for row, column in np.ndindex(3, 2):
        assert found[row, column] == pytest.approx(expected(kernels[row], kernels[column]))


def test_rotations_scales_and_offsets_play_no_part():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 10))
    turned = 5 * features @ np.linalg.qr(rng.normal(size=(10, 10)))[0] + 3
    other = features[:, :4] + 0.3 * rng.normal(size=(60, 4))
    values = similarities([features, turned], [turned, other])
    assert values[0, 0] == pytest.approx(1) and values[1, 0] == pytest.approx(1)
    assert values[0, 1] == pytest.approx(values[1, 1]) and 0.2 < values[0, 1] < 0.9


def test_unrelated_features_have_none_though_they_are_wide():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 100, 400))
    assert abs(similarities([one], [other])[0, 0]) < 0.05
    plain = [each - each.mean(axis=0) for each in (one, other)]
    biased = np.linalg.norm(plain[0].T @ plain[1]) ** 2
    biased /= np.linalg.norm(plain[0].T @ plain[0]) * np.linalg.norm(plain[1].T @ plain[1])
    assert biased > 0.7  # what the plain estimate says


def test_equal_images_have_none():
    assert similarities([np.ones((5, 3))], [np.arange(15.0).reshape(5, 3)])[0, 0] == 0


def test_a_step_is_of_a_run():
    with pytest.raises(Unsuitable, match=r"set evals\.measures\.cka\.workdir"):
        next(cka(trained_on(), step=3))
