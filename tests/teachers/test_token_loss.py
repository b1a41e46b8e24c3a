"""Predicted losses: all tokens of the whole example, visible and predicted, in order."""

from __future__ import annotations

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

from maskmim.config.facts import facts_of
from maskmim.teachers.token_loss import predicted
from maskmim.types import Context


def test_every_token_is_visible_and_predicted():
    batch = {"image": np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32)}

    def encode(params, inputs, mask):
        assert mask is None
        return params * inputs

    def predict_loss(params, encoded, mask):
        every = np.tile(np.arange(12), (3, 1))
        np.testing.assert_array_equal(mask.visible, every)
        np.testing.assert_array_equal(mask.predict, every)
        assert not np.any(mask.hidden) and np.all(mask.weight == 1)
        return encoded[..., None]

    calls = {"difficulty": predict_loss}
    net = SimpleNamespace(inputs=lambda batch: batch["image"], encode=encode, calls=calls)
    context = Context(batch, {"image": (3, 4)}, {})
    hints = predicted(net, jnp.float32(2), context, call="difficulty")
    assert tuple(hints) == facts_of(predicted).gives
    np.testing.assert_array_equal(hints["token_loss"], 2 * batch["image"])
