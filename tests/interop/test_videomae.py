"""Equal weights and equal masks: we compute what transformers' VideoMAEForPreTraining computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.losses.regression import squared_error
from maskmim.masks import video
from maskmim.objectives.matching import match
from maskmim.targets.cubes import normalised_cubes
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Mean, View
from tests.compiling import quick_jit
from tests.interop import transformers_videomae as theirs
from tests.masks.video_clips import draw
from tests.tolerances import PARITY

EXAMPLES = 3
NET = theirs.our_net()
OBJECTIVE = match(head="pixels", target=normalised_cubes, loss=squared_error)


def clips():
    """Clips u8[B, T, H, W, 3], and as the peer takes them."""
    rng = np.random.default_rng(0)
    given = rng.integers(0, 256, (EXAMPLES, *theirs.SIZE, 3), np.uint8)
    inputs = NET.inputs({"video": given})
    return given, torch.from_numpy(np.array(inputs).transpose(0, 1, 4, 2, 3))


@quick_jit
def ours(params, given, mask):
    """Loss, predictions, features, and gradients of the loss."""
    batch = {"video": given}

    def loss(params):
        inputs = NET.inputs(batch)
        encoded = NET.encode(params, inputs, mask)
        outputs = NET.predict(params, encoded, mask)
        view = View(NET, Context(batch, NET.grids, {}), inputs, mask, encoded, outputs, {})
        per_token, weight, _, _ = OBJECTIVE.find(view)
        value = Mean(jnp.sum(per_token * weight), jnp.sum(weight)).value
        return value, (outputs["pixels"], encoded.tokens)

    (value, found), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return value, *found, grads


def assert_equal(found, expected, what):
    expected = np.asarray(expected, np.float64)
    assert found.shape == expected.shape, what
    difference = np.abs(np.asarray(found, np.float64) - expected).max()
    assert difference <= PARITY * np.abs(expected).max(), (what, difference)


@pytest.mark.proves(
    21, "features, predictions, loss and all gradients equal transformers' VideoMAE"
)
def test_equals_transformers():
    model = theirs.peer()
    given, pixels = clips()
    mask = draw(video.tube, theirs.GRID, count=EXAMPLES, ratio=0.75)
    hidden = torch.tensor(mask.hidden)
    seen = model.videomae(pixels, bool_masked_pos=hidden).last_hidden_state
    told = model(pixels, bool_masked_pos=hidden)
    told.loss.backward()
    grads = {name: p.grad for name, p in model.named_parameters()}

    params = theirs.as_ours(dict(model.named_parameters()))
    value, predictions, features, gradients = ours(params, given, mask)
    assert_equal(features, seen.detach(), "features")
    assert_equal(predictions, told.logits.detach(), "predictions")
    assert_equal(value, told.loss.detach(), "loss")
    expected = dict(named_leaves(theirs.as_ours(grads)))
    for path, leaf in named_leaves(gradients):
        assert_equal(leaf, expected[path], path)


def test_a_bias_of_the_keys_changes_nothing():
    """Ours have one, VideoMAE's have none: the softmax does not see it."""
    model = theirs.peer(2)
    given, _ = clips()
    mask = draw(video.tube, theirs.GRID, count=EXAMPLES, ratio=0.75)
    params = theirs.as_ours(dict(model.named_parameters()))
    value, predictions, _, _ = ours(params, given, mask)
    for part in ("encoder", "decoder"):
        bias = params[part]["stack"]["blocks"]["attention"]["qkv"]["bias"]
        assert not bias[:, 1].any()
        bias[:, 1] = np.random.default_rng(0).normal(size=bias[:, 1].shape)
    other, moved, _, gradients = ours(params, given, mask)
    assert_equal(other, value, "loss")
    assert_equal(moved, predictions, "predictions")
    found = gradients["encoder"]["stack"]["blocks"]["attention"]["qkv"]["bias"]
    assert np.abs(found[:, 1]).max() < PARITY * np.abs(found).max()
