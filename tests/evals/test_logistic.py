"""Logistic regression against scikit-learn's, whose minimum it shares."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from maskmim.evals.logistic import TOLERANCE, Standardised, fit, score
from tests.evals.planted import FINE, clusters
from tests.tolerances import REORDERED


@pytest.mark.parametrize("penalty", [0.3, 30.0])
def test_the_minimum_is_that_of_scikit_learn(penalty):
    data = clusters(noise=2.0, train=200)
    scale = Standardised.of(data.train.features)
    rows, labels = scale(data.train.features), data.train.labels["fine"]
    fitted = fit(rows, labels, jnp.float32(penalty), classes=FINE, most_steps=200)
    assert fitted.gradient <= TOLERANCE and 3 < fitted.steps < 200
    theirs = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=1000).fit(rows, labels)
    kernel = np.asarray(fitted.layer["kernel"]).T
    size = np.abs(theirs.coef_).max()
    np.testing.assert_allclose(kernel, theirs.coef_, atol=0.01 * size)
    bias = np.asarray(fitted.layer["bias"])
    np.testing.assert_allclose(bias - bias.mean(), theirs.intercept_, atol=0.01 * size)
    tests, truth = scale(data.test.features), data.test.labels["fine"]
    assert score(fitted.layer, tests, truth) == pytest.approx(theirs.score(tests, truth), abs=0.004)


def test_the_search_ends_where_it_must():
    data = clusters(noise=2.0, train=200)
    rows, labels = data.train.features, data.train.labels["fine"]
    short = fit(rows, labels, jnp.float32(0.3), classes=FINE, most_steps=2)
    assert short.steps == 2 and short.gradient > TOLERANCE


def test_rows_that_are_not_counted_change_nothing():
    data = clusters(noise=2.0, train=100)
    rows, labels = data.train.features, data.train.labels["fine"]
    options = {"classes": FINE, "most_steps": 200}
    alone = fit(rows[:60], labels[:60], jnp.float32(3.0), **options)
    beside = fit(rows, labels, jnp.float32(3.0), np.arange(100) < 60, **options)
    assert beside.gradient <= TOLERANCE and abs(int(alone.steps - beside.steps)) <= 2
    for name, expected in alone.layer.items():
        size = np.abs(expected).max()
        np.testing.assert_allclose(beside.layer[name], expected, atol=0.01 * size)


def test_features_are_standardised_as_by_scikit_learn():
    rng = np.random.default_rng(0)
    train, test = rng.normal(5, 3, (2, 50, 4)).astype("f4")
    train[:, 2] = test[:, 2] = 7.0
    expected = StandardScaler().fit(train).transform(test)
    np.testing.assert_allclose(Standardised.of(train)(test), expected, atol=10 * REORDERED)
