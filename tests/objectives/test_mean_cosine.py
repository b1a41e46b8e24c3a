"""The mean cosine of tokens: all pairs, averaged over examples before it is compared."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.models.layers.errors import ModelError
from maskmim.objectives.mean_cosine import given_tokens, mean_cosine, pairwise_cosine, predicted
from maskmim.types import Encoded
from tests.comparing import close

TOKENS = np.random.default_rng(0).standard_normal((6, 5, 4)).astype(np.float32) + 0.3


def view_of(progress=0.0):
    """A view with predictions, and with an entry of the encoder that has one prefix token."""
    encoded = Encoded(jnp.zeros((6, 1, 4)), TOKENS, given={"projected": TOKENS})
    context = SimpleNamespace(progress=progress)
    return SimpleNamespace(outputs={"features": TOKENS}, encoded=encoded, context=context)


def all_pairs(tokens):
    """The mean of the matrix of cosines of each example, its diagonal included."""
    units = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
    return np.mean(units @ units.swapaxes(1, 2), axis=(1, 2))


def test_it_is_the_mean_of_all_pairs_with_each_token_itself():
    close(pairwise_cosine(jnp.asarray(TOKENS)), all_pairs(TOKENS))


@pytest.mark.proves(
    133, "the cosine is averaged over examples, then held at a value that falls along half a cosine"
)
@pytest.mark.parametrize(
    ("progress", "value"), [(0.0, 0.75), (0.5, 0.5), (0.25, 0.25 + 0.5 * 0.853553), (1.0, 0.25)]
)
@pytest.mark.parametrize(("examples", "groups"), [(256, 1), (4, 2), (1, 6)])
def test_groups_of_examples_are_compared(progress, value, examples, groups):
    objective = mean_cosine(source=partial(predicted, head="features"), examples=examples)
    loss, weight, metrics, carry = objective.find(view_of(progress))
    means = all_pairs(TOKENS).reshape(groups, -1).mean(axis=1)
    np.testing.assert_allclose(loss, (means - value) ** 2, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(weight, np.ones(groups))
    close(metrics["cosine"].value, all_pairs(TOKENS).mean())
    assert objective.scale == 0.1 and carry == ()


def test_sources_leave_the_prefix_out_and_name_what_there_is():
    view = view_of()
    np.testing.assert_array_equal(given_tokens(view, name="projected"), TOKENS[:, 1:])
    with pytest.raises(ModelError, match="the encoder gives projected, no 'latent'"):
        given_tokens(view, name="latent")
    with pytest.raises(ModelError, match="there is no head 'pixels'"):
        predicted(view, head="pixels")
