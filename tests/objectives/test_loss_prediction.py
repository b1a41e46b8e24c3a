"""HPM's objectives for the loss predictor: equality with the official function, ties, weights.

tests/golden/hpm/values.npz holds predictions, true losses and the official values and gradients;
hpm_record.py beside it says how it was made.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config import facts
from maskmim.losses.regression import squared_error
from maskmim.objectives.loss_prediction import absolute, relative
from maskmim.objectives.matching import match
from maskmim.types import Mask, Mean, Objective, View
from tests.running import ROOT
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

GOLDEN = np.load(ROOT / "tests/golden/hpm/values.npz")
KINDS = {"relative": relative, "absolute": absolute}


def sums(kind, prediction, losses, weight=None):
    """(Mean of the objective, metrics) for predictions and true losses f32[B, P]."""
    prediction, losses = jnp.asarray(prediction), jnp.asarray(losses)
    weight = jnp.ones(losses.shape) if weight is None else jnp.asarray(weight)
    tokens = jnp.broadcast_to(jnp.arange(losses.shape[1]), losses.shape)
    mask = Mask(tokens, tokens, jnp.ones(losses.shape, bool), weight)
    net = SimpleNamespace(calls={"loss": lambda params, encoded, mask: prediction[..., None]})
    view = View(net, None, None, mask, None, {}, {})

    def given() -> Objective:
        return Objective((), 1.0, lambda view: (losses, weight, {}, ()), "given")

    per_token, weights, metrics, carry = KINDS[kind](of=given).find(view)
    assert per_token.shape == weights.shape == losses.shape and carry == ()
    return Mean(jnp.sum(per_token * weights), jnp.sum(weights)), metrics


def close(ours, theirs):
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, atol=PARITY * scale, rtol=0)


@pytest.mark.proves(46, "the relative and the absolute objective equal the official function")
@pytest.mark.proves(36, "the relative objective and its gradient equal the official function")
@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradient_equal_the_official_ones(kind):
    def value(prediction):
        return sums(kind, prediction, GOLDEN["losses"])[0].value

    loss, gradient = jax.value_and_grad(value)(GOLDEN["predictions"])
    close(loss, GOLDEN[kind])
    close(gradient, GOLDEN[f"{kind}_gradient"])


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_reaches_the_losses_that_are_predicted(kind):
    def value(losses):
        return sums(kind, GOLDEN["predictions"], losses)[0].value

    np.testing.assert_array_equal(jax.grad(value)(GOLDEN["losses"]), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_a_batch_add_up(kind):
    """The official mean over the pairs of the batch, though examples have unequal ties."""
    parts = [
        sums(kind, GOLDEN["predictions"][part], GOLDEN["losses"][part])[0]
        for part in (slice(0, 1), slice(1, 5))
    ]
    close(Mean(*map(sum, zip(*parts, strict=True))).value, GOLDEN[kind])


def test_pairs_in_numpy():
    """Both orders, a tie that counts for nothing, and the share of pairs in the right order."""
    mean, metrics = sums("relative", [[2.0, 0.5, 1.0]], [[3.0, 1.0, 1.0]])

    def cost(lead):
        return -np.log(1 / (1 + np.exp(-lead)) + 1e-6)

    assert float(mean.weight) == 4
    np.testing.assert_allclose(mean.value, (cost(1.5) + cost(1.0)) / 2, rtol=1e-6)
    assert float(metrics["ordered"].value) == 1
    assert float(sums("relative", [[0.0, 1.0]], [[2.0, 1.0]])[1]["ordered"].value) == 0


def test_an_example_without_pairs_weighs_nothing_and_gives_no_nan():
    prediction = jnp.asarray([[1.0, -2.0, 0.5]])
    value = lambda p: sums("relative", p, jnp.ones((1, 3)))[0].value  # noqa: E731
    assert float(value(prediction)) == 0
    np.testing.assert_array_equal(jax.grad(value)(prediction), 0)


def test_tokens_without_weight_take_part_in_no_pair():
    rng = np.random.default_rng(1)
    prediction, losses = rng.normal(size=(2, 3, 8)).astype(np.float32)
    weight = np.ones((3, 8), np.float32)
    weight[:, 5:] = 0
    some, _ = sums("relative", prediction, losses, weight)
    kept, _ = sums("relative", prediction[:, :5], losses[:, :5])
    np.testing.assert_allclose(some, kept, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_hint_that_the_losses_need_is_needed_here(kind):
    @facts.target(needs=("features",))
    def target(view):
        raise AssertionError

    of = partial(match, head="pixels", target=target, loss=squared_error)
    assert KINDS[kind](of=of).needs == ("features",)
