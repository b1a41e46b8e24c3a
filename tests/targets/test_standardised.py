"""Targets with mean 0 and variance 1 in each token, and their way back to pictures."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from maskmim.config import facts
from maskmim.config.facts import facts_of
from maskmim.targets.standardised import standardised

VALUES = np.random.default_rng(0).normal(3.0, 2.0, (2, 5, 8)).astype(np.float32)


def shows(view, prediction, *, factor):
    return {"drawn": prediction * factor}


@facts.target(shows=shows)
def scaled(view, *, factor):
    return VALUES * factor


@pytest.mark.proves(142, "targets have mean 0 and unbiased variance 1 in each token")
def test_values_are_standardised_by_token():
    ours = standardised(SimpleNamespace(), target=partial(scaled, factor=2.0))
    values = 2.0 * VALUES.astype(np.float64)
    mean, variance = values.mean(-1, keepdims=True), values.var(-1, keepdims=True, ddof=1)
    np.testing.assert_allclose(ours, (values - mean) / np.sqrt(variance + 1e-6), atol=1e-5)


def test_equal_values_become_0():
    flat = standardised(SimpleNamespace(), target=lambda view: np.full((1, 2, 4), 0.25, "f4"))
    np.testing.assert_array_equal(flat, 0.0)


def test_a_prediction_is_drawn_in_units_of_the_target():
    target = partial(scaled, factor=0.5)
    draw = facts_of(standardised).shows
    perfect = standardised(SimpleNamespace(), target=target)
    drawn = draw(SimpleNamespace(), perfect, target=target)
    np.testing.assert_allclose(drawn["drawn"], VALUES * 0.25, atol=1e-5)
    assert draw(SimpleNamespace(), perfect, target=lambda view: VALUES) == {}
