"""The objective on the covered region: its mean, what it needs of the sampler."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_hidden
from maskmim.objectives import match_covered
from maskmim.objectives.classification import ObjectiveError
from tests.objectives.views import net_of, views_of

HIDDEN = np.array([[1, 1, 0, 1, 1, 0], [0, 1, 1, 1, 0, 1]], bool)
COVERED = np.array([[0, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1]], bool)


def found(covered):
    """(loss per token, weight) of predictions that differ from the target by known numbers."""
    errors = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)
    mask = from_hidden(jnp.asarray(HIDDEN), count=4)
    mask = mask._replace(covered=None if covered is None else jnp.asarray(covered))
    outputs = [{"pixels": jnp.asarray(errors)}]
    (view,) = views_of([np.ones((2, 6), np.float32)], net=net_of(), masks=[mask], outputs=outputs)
    objective = match_covered(
        head="pixels", target=partial(zeros, like=errors), loss=squared_error, scale=0.007
    )
    assert objective.scale == 0.007
    return errors, *objective.find(view)[:2]


def zeros(view, *, like):
    return jnp.zeros_like(like)


@pytest.mark.proves(127, "the second reconstruction is the mean over covered hidden patches alone")
def test_the_mean_is_over_covered_tokens():
    errors, per_token, weight = found(COVERED)
    squares = (errors**2).mean(-1)
    # Hidden tokens 0 1 3 4 and 1 2 3 5, of which 1 3 and 5 are covered.
    expected = np.mean([squares[0, 1], squares[0, 2], squares[1, 3]])
    np.testing.assert_allclose(np.sum(per_token * weight) / np.sum(weight), expected, rtol=1e-6)


def test_nothing_covered_weighs_nothing():
    _, _, weight = found(np.zeros_like(COVERED))
    assert not np.any(weight)


def test_a_sampler_that_covers_nothing_is_refused():
    with pytest.raises(ObjectiveError, match="covered_overlapping"):
        found(None)
