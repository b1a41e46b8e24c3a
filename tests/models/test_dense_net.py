"""An encoder with a dense head as a network: the head's answers, and which blocks it reads."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.masks.core import nothing_hidden
from maskmim.models.dense_heads import linear
from maskmim.models.dense_net import dense_net
from maskmim.models.feature_maps import block_numbers, captured_by, maps_of
from maskmim.models.layers.errors import ModelError
from maskmim.models.swin import swin_in_place
from maskmim.types import Encoded
from tests.compiling import quick_jit
from tests.tiny import SPEC, pictures, tiny_model

NET = dense_net(SPEC, encoder=tiny_model(), outputs=3, layers=(0.5, 1.0))


@pytest.mark.parametrize(
    "layers, depth, expected",
    [
        ((0.25, 0.5, 0.75, 1.0), 12, (2, 5, 8, 11)),
        ((0.25, 0.5, 0.75, 1.0), 24, (5, 11, 17, 23)),
        ((0.25, 0.5, 0.75, 1.0), 6, (1, 2, 4, 5)),
        ((0.25, 0.5, 0.75, 1.0), 2, (0, 0, 1, 1)),
        ((0.01, 1 / 3), 3, (0, 0)),
    ],
)
def test_shares_of_the_depth_are_blocks(layers, depth, expected):
    assert block_numbers(layers, depth) == expected


def test_maps_are_tokens_of_blocks_without_the_prefix():
    rng = np.random.default_rng(0)
    blocks = rng.normal(size=(4, 2, 1 + 6, 5)).astype("f4")
    tokens = rng.normal(size=(2, 6, 5)).astype("f4")
    encoded = Encoded(blocks[-1, :, :1], tokens, blocks)
    (output,) = maps_of(encoded, (2, 3), layers=())
    np.testing.assert_array_equal(output, tokens.reshape(2, 2, 3, 5))
    found = maps_of(encoded, (2, 3), layers=(0.5, 1.0))
    for each, block in zip(found, (1, 3), strict=True):
        np.testing.assert_array_equal(each, blocks[block][:, 1:].reshape(2, 2, 3, 5))
    alone = maps_of(encoded._replace(layers=None), (2, 3), layers=(0.5, 1.0))
    assert len(alone) == 2 and (np.asarray(alone[0]) == np.asarray(output)).all()
    with pytest.raises(ModelError, match="returns 6 tokens for a grid of 2x4"):
        maps_of(encoded, (2, 4), layers=())


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


def test_an_encoder_of_stages_gives_its_output_for_every_level():
    model = partial(swin_in_place, variant="8x2-2x1-2", patch=(4, 4), window=1)
    net = dense_net(SPEC, encoder=model, outputs=3, layers=(0.5, 1.0), head=linear)
    params = jax.eval_shape(net.init, jax.random.key(0))
    assert params["dense"]["Dense_0"]["kernel"].shape == (2 * 16, 3)
    blank = {"image": jax.ShapeDtypeStruct((1, *SPEC.shape), jnp.uint8)}

    def encode(params, batch, **options):
        return net.encode(params, net.inputs(batch), None, **options)

    assert captured_by(encode, params, blank, layers=(1.0,)) == ()


def test_two_streams_are_refused():
    def two(spec):
        return tiny_model()(spec)._replace(grids={"image": (4, 3), "depth": (4, 3)})

    with pytest.raises(ModelError, match=r"needs one stream of pictures, and model\.encoder has"):
        dense_net(SPEC, encoder=two, outputs=3)
