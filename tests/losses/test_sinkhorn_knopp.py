"""Sinkhorn: equal to the official code, balanced, and for each position by itself."""

import jax
import numpy as np
import pytest

from maskmim.losses.sinkhorn_knopp import sinkhorn
from tests.golden.capi import case


@jax.jit
def balanced(scores):
    return sinkhorn(scores, iterations=3)


@pytest.mark.proves(64, "positional Sinkhorn equals the official function to 1e-5")
def test_equals_the_official_function():
    """Theirs has places before examples."""
    scores = case.scores().swapaxes(0, 1)
    theirs = np.load(case.GOLDEN)["sinkhorn"].swapaxes(0, 1)
    ours = balanced(scores)
    assert theirs.shape == ours.shape and theirs.std() > 0.1
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.proves(64, "every cluster is used alike at every position, whatever the scores prefer")
def test_clusters_are_used_alike():
    """Scores that prefer one cluster by far; rows sum to 1 and each cluster to examples / K."""
    examples, clusters = 24, 6
    scores = np.random.default_rng(0).normal(size=(examples, 3, clusters)).astype(np.float32)
    scores[..., 2] += 20
    shares = np.asarray(sinkhorn(scores, iterations=40))
    np.testing.assert_allclose(shares.sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(shares.sum(axis=0), examples / clusters, rtol=1e-3)


@pytest.mark.proves(64, "a position's assignments do not depend on what other positions hold")
def test_every_position_is_balanced_by_itself():
    scores = np.random.default_rng(0).normal(size=(24, 3, 6)).astype(np.float32)
    other = scores.copy()
    other[:, 1] = 5 * scores[::-1, 2]
    shares, changed = balanced(scores), balanced(other)
    np.testing.assert_array_equal(shares[:, ::2], changed[:, ::2])
    assert np.abs(shares[:, 1] - changed[:, 1]).max() > 0.5


def test_scores_of_any_size_stay_finite():
    scores = 200 * np.random.default_rng(1).normal(size=(8, 5)).astype(np.float32)
    shares = balanced(scores)
    assert (
        np.isfinite(shares).all() and (shares.sum(axis=-1) < 1 + 1e-5).all() and shares.max() > 0.4
    )
