"""An encoder with a dense head as a network: the head's answers, and which blocks it reads."""

import jax
import numpy as np
import pytest

from maskmim.masks.core import nothing_hidden
from maskmim.models.dense_net import dense_net
from maskmim.models.layers.errors import ModelError
from tests.compiling import quick_jit
from tests.tiny import SPEC, pictures, tiny_model

NET = dense_net(SPEC, encoder=tiny_model(), outputs=3, layers=(0.5, 1.0))


def test_the_head_answers_for_the_pixels_of_each_token():
    params = NET.init(jax.random.key(0))
    assert set(params) == {"encoder", "dense"}
    inputs = NET.inputs({"image": pictures(2)})
    mask = nothing_hidden(2, 12)

    @quick_jit
    def run(params):
        encoded = NET.encode(params, inputs, mask)
        return encoded, NET.predict(params, encoded, mask)["classes"]

    encoded, found = run(params)
    assert found.shape == (2, 12, 64 * 3)
    assert encoded.layers.shape == (2, 2, 13, 32)
    maps = [layer[:, 1:].reshape(2, 4, 3, 32) for layer in encoded.layers]
    dense = params["dense"]["Dense_0"]
    logits = np.concatenate(maps, axis=-1) @ dense["kernel"] + dense["bias"]
    expected = jax.image.resize(logits, (2, 32, 24, 3), "bilinear", antialias=False)
    np.testing.assert_allclose(NET.restore(found), expected, atol=1e-5)


def test_a_mask_that_hides_something_is_refused():
    params = jax.eval_shape(NET.init, jax.random.key(0))
    mask = nothing_hidden(2, 12)
    part = mask._replace(visible=mask.visible[:, :5], predict=mask.predict[:, 5:])

    def run(params):
        inputs = NET.inputs({"image": pictures(2)})
        return NET.predict(params, NET.encode(params, inputs, part), part)

    with pytest.raises(ModelError, match="answers on all 12 tokens, and the mask predicts 7"):
        jax.eval_shape(run, params)


def test_two_streams_are_refused():
    def two(spec):
        return tiny_model()(spec)._replace(grids={"image": (4, 3), "depth": (4, 3)})

    with pytest.raises(ModelError, match=r"needs one stream of pictures, and model\.encoder has"):
        dense_net(SPEC, encoder=two, outputs=3)
