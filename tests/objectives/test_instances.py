"""The objective that predicts a teacher's features: torch's cosine, widths, where gradients go."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.models.layers.errors import ModelError
from maskmim.objectives import match_projection, represented
from maskmim.objectives.classification import ObjectiveError
from tests.objectives.views import features, net_of, views_of

RNG = np.random.default_rng(3)
PROJECTOR, PREDICTOR = (RNG.standard_normal(s).astype(np.float32) for s in ((6, 4), (4, 4)))


def view_of(hint):
    net = net_of(projector=jnp.asarray(PROJECTOR), predictor=jnp.asarray(PREDICTOR))
    return views_of(features(1, 5), net=net, hints=[hint])[0]


def test_equals_torch_and_spares_the_hint():
    hint = features(1, 5, seed=1, width=4)[0]
    objective = match_projection(scale=0.5)
    assert (objective.needs, objective.calls) == (("projection",), ("projector", "predictor"))

    def loss(hint, params):
        view = view_of(hint)._replace(params=params)
        per_example, weight, metrics, _ = objective.find(view)
        assert per_example.shape == weight.shape == (5, 1) and set(metrics) == {"spread"}
        return jnp.sum(per_example * weight)

    params = view_of(hint).params
    predicted = features(1, 5)[0] @ PROJECTOR @ PREDICTOR
    cosines = torch.cosine_similarity(*map(torch.from_numpy, (predicted, hint)), dim=1)
    np.testing.assert_allclose(loss(hint, params), (2 - 2 * cosines).sum(), rtol=1e-5)
    of_hint, of_params = jax.grad(loss, argnums=(0, 1))(jnp.asarray(hint), params)
    assert not np.any(of_hint) and all(np.any(leaf) for leaf in jax.tree.leaves(of_params))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ObjectiveError, match="4 values with 3 of the hint 'projection'"):
        match_projection().find(view_of(features(1, 5, width=3)[0]))
    with pytest.raises(ModelError, match="representer"):
        represented(view_of(features(1, 5, width=4)[0]))
