"""BEiT v2's network: official predictions, the second through the class token alone."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.interop.layout import arrays_of, check_covered, params_of, shapes_of
from maskmim.losses.classification import cross_entropy
from maskmim.masks.core import from_hidden
from maskmim.masks.roles import in_place
from maskmim.models.beit_v2 import beit_v2
from maskmim.models.vit import ModelError
from maskmim.tree_paths import named_leaves
from maskmim.types import Randomness, Spec
from tests.compiling import quick_jit
from tests.golden.beit_v2 import case
from tests.tolerances import PARITY

SPEC = Spec((case.IMAGE, case.IMAGE), 3, (0.5,) * 3, (0.5,) * 3)


@cache
def net_of(drop_path=0.0):
    return beit_v2(
        SPEC,
        variant="x".join(map(str, case.ENCODER)),
        patch=(case.PATCH, case.PATCH),
        codes=case.CODES,
        layer=case.LAYER,
        aggregating=case.AGGREGATING,
        drop_path=drop_path,
    )


def zeros_of(net):
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)


def weights():
    """The official weights as our parameters."""
    net, entries = net_of(), case.pretraining()
    check_covered(entries, shapes_of(net), "the official layout")
    blank = arrays_of(entries, zeros_of(net))
    arrays = {name: case.weight(name, array.shape) for name, array in blank.items()}
    return params_of(entries, shapes_of(net), arrays)


def mask_of():
    mask = from_hidden(jnp.asarray(case.hidden()), count=case.HIDDEN)
    return in_place(None, None, sampler=lambda *_: mask)


def close(ours, theirs, what):
    assert ours.shape == theirs.shape, what
    error = np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()
    assert error < PARITY, (what, error)


@pytest.mark.proves(113, "both predictions, the loss and all gradients equal the official ones")
def test_equals_the_official_network():
    net, mask, golden = net_of(), mask_of(), np.load(case.GOLDEN)
    targets = jnp.take_along_axis(jnp.asarray(case.codes()), mask.predict, axis=1)

    @quick_jit
    def run(params, image):
        def loss(params):
            encoded = net.encode(params, net.inputs({"image": image}), mask)
            outputs = net.predict(params, encoded, mask)
            losses = [cross_entropy(logits, targets).mean() for logits in outputs.values()]
            return sum(losses), outputs

        return jax.value_and_grad(loss, has_aux=True)(params)

    (loss, outputs), gradients = run(weights(), case.pictures())
    close(outputs["codes"], golden["codes"], "codes")
    close(outputs["aggregated"], golden["aggregated"], "aggregated")
    np.testing.assert_allclose(loss, golden["loss"], rtol=PARITY)
    arrays = arrays_of(case.pretraining(), gradients)
    ours = np.concatenate([arrays[entry.name].reshape(-1) for entry in case.pretraining()])
    close(ours, golden["gradients"], "gradients")


@pytest.mark.proves(113, "later blocks reach the second prediction by the class token alone")
def test_patch_tokens_of_later_blocks_do_not_reach_the_second_prediction():
    net, mask, params = net_of(), mask_of(), weights()
    inputs = net.inputs({"image": case.pictures()})
    encoded = quick_jit(lambda params: net.encode(params, inputs, mask))(params)
    predict = quick_jit(lambda encoded: net.predict(params, encoded, mask))
    before = predict(encoded)
    tokens = encoded.layers.at[case.LAYER :, :, 1:].add(1.0)
    after = predict(encoded._replace(layers=tokens, tokens=encoded.tokens + 1.0))
    np.testing.assert_array_equal(before["aggregated"], after["aggregated"])
    assert (np.abs(before["codes"] - after["codes"]).max(-1) > 1e-3).all()
    first = encoded.layers.at[-1, :, 0, ::2].add(1.0)
    after = predict(encoded._replace(layers=first))["aggregated"]
    assert (np.abs(before["aggregated"] - after).max(-1) > 1e-3).all()


def test_paths_of_the_aggregating_blocks_are_dropped_in_training_only():
    net, mask, params = net_of(0.9), mask_of(), weights()
    inputs = net.inputs({"image": case.pictures()})
    encoded = quick_jit(lambda: net.encode(params, inputs, mask))()
    randomness = Randomness.of(jax.random.key(0), case.EXAMPLES)
    predict = quick_jit(
        lambda randomness: net.predict(params, encoded, mask, randomness=randomness)
    )
    plain, dropped = predict(None), predict(randomness)
    np.testing.assert_array_equal(plain["codes"], dropped["codes"])
    assert np.abs(plain["aggregated"] - dropped["aggregated"]).max() > 0.1


def test_initialisation():
    net = beit_v2(SPEC, variant="4x32x2", patch=(4, 4), codes=50, layer=3)
    params = dict(named_leaves(quick_jit(net.init)(jax.random.key(0))))
    for path, block, layer in (("encoder", 4, 1), ("decoder", 2, 4)):
        down = np.asarray(params[f"{path}/blocks/mlp/down/kernel"])
        up = np.asarray(params[f"{path}/blocks/mlp/up/kernel"])
        rescaled = down * np.sqrt(2 * np.arange(layer, layer + block))[:, None, None]
        limits = {"encoder": (0.02, 0.02), "decoder": (128**-0.5, 32**-0.5)}[path]
        for array, limit in zip((rescaled, up), limits, strict=True):
            assert limit > np.abs(array).max() > 0.97 * limit, path
    assert 0.02 > np.abs(params["decoder/head_codes/kernel"]).max() > 0.019


def test_a_missing_block_is_refused():
    with pytest.raises(ModelError, match="no block 9 to aggregate: the encoder has 2"):
        beit_v2(SPEC, variant="nano", patch=(4, 4))
