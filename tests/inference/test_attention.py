"""Attention maps: those that blocks capture, those computed again, and their rollout."""

import jax
import numpy as np
import pytest

from maskmim.inference import InferenceError, load
from maskmim.inference.attention import class_attention, rollout, token_maps
from tests.compiling import quick_jit
from tests.inference.untrained import untrained
from tests.tolerances import REORDERED


@pytest.fixture(scope="module")
def computed(model, photographs):
    """Attention of all tokens and what the encoder captures, of some images."""
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)

    def both(variables, arrays):
        encoded = model.loaded.method.apply["encode"](variables, arrays, capture=("attention",))
        return token_maps(model.loaded)(variables, arrays, None)[0], encoded.attention

    maps, captured = quick_jit(both)(model.loaded.variables, {"image": images})
    return images, np.stack(maps), np.asarray(captured)


def test_the_maps_are_those_of_the_blocks(computed):
    _, maps, captured = computed
    assert maps.shape == (2, 2, 2, 17, 17) and captured.std(axis=-1).max() > 0.01
    np.testing.assert_allclose(maps[:, :, :, 0], captured, atol=REORDERED)
    np.testing.assert_allclose(maps.sum(-1), 1, atol=REORDERED)


def test_attention_and_rollout(workdir, computed):
    images, maps, captured = computed
    model = load(workdir, batch_size=4, crop=False)
    found = model.attention(images, -2)
    np.testing.assert_allclose(found, captured[0][:, :, 1:].reshape(2, 2, 4, 4), atol=REORDERED)
    flow = np.eye(17)
    for block in maps.mean(axis=2):
        flow = (block + np.eye(17)) / 2 @ flow
    rolled = model.attention(images, rollout=True)
    np.testing.assert_allclose(rolled, flow[:, 0, 1:].reshape(2, 4, 4), atol=REORDERED)


def test_networks_without_such_maps_say_so():
    swin = untrained("simmim:model=swin", shapes=True)
    with pytest.raises(InferenceError, match="this network is swin_in_place"):
        swin.attention(np.zeros((64, 64, 3), np.uint8))
    capi = untrained("capi", shapes=True)
    with pytest.raises(InferenceError, match="this network is vit_rotary"):
        capi.attention(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(InferenceError, match="has registers alone"):
        capi.encode(np.zeros((32, 32, 3), np.uint8), pooling="class")


def test_a_network_whose_plain_blocks_are_not_all_says_so():
    loaded = untrained("convmae", shapes=True).loaded
    arrays = {"image": jax.ShapeDtypeStruct((1, 32, 32, 3), np.uint8)}
    for function in (class_attention(loaded, -1, None), rollout(loaded, None)):
        with pytest.raises(InferenceError, match="this network is convmae: use features_map"):
            jax.eval_shape(function, loaded.variables, arrays)
