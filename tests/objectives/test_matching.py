"""The class token as one more predicted token."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config import facts
from maskmim.losses.regression import absolute_error
from maskmim.models.layers.errors import ModelError
from maskmim.objectives.matching import match_with_class
from maskmim.types import Context, Mask, View


@facts.target(needs=("features",))
def ones(view):
    return jnp.ones((2, 3, 4))


@facts.target(needs=("class_feature", "features"))
def threes(view):
    return jnp.full((2, 1, 4), 3.0)


def found(outputs, **changes):
    """Return what the objective finds of two examples with three predicted tokens each."""
    tokens = jnp.zeros((2, 3), jnp.int32)
    weight = jnp.asarray([[1.0, 0.0, 2.0], [1.0, 1.0, 1.0]])
    mask = Mask(tokens, tokens, jnp.ones((2, 5), bool), weight)
    view = View(None, Context({}, {}, {}), (), mask, None, outputs, {})
    heads = {"head": "patch", "class_head": "class", "target": ones, "class_target": threes}
    objective = match_with_class(**{**heads, "loss": absolute_error, **changes})
    return objective, objective.find(view)


def test_the_class_token_is_one_more_token_of_weight_1():
    outputs = {"patch": jnp.zeros((2, 3, 4)), "class": jnp.zeros((2, 1, 4))}
    objective, (per_token, weight, metrics, carry) = found(outputs)
    np.testing.assert_array_equal(per_token, [[3, 1, 1, 1], [3, 1, 1, 1]])
    np.testing.assert_array_equal(weight, [[1, 1, 0, 2], [1, 1, 1, 1]])
    assert (metrics, carry) == ({}, ())
    assert objective.needs == ("features", "class_feature")


def test_a_head_of_another_width_is_refused():
    with pytest.raises(ModelError, match="head 'class' has 5 values for each token, its target 4"):
        found({"patch": jnp.zeros((2, 3, 4)), "class": jnp.zeros((2, 1, 5))})
    with pytest.raises(ModelError, match="no head 'other'"):
        found({"patch": jnp.zeros((2, 3, 4))}, class_head="other")
