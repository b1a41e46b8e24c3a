"""Equal weights and equal masks: we compute what transformers' VideoMAEForPreTraining computes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.losses.regression import squared_error
from maskmim.masks import motion, redundancy, structured, video, warped
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
    """Return clips u8[B, T, H, W, 3], and the same normalised and ordered for the peer."""
    rng = np.random.default_rng(0)
    videos = rng.integers(0, 256, (EXAMPLES, *theirs.SIZE, 3), np.uint8)
    inputs = NET.inputs({"video": videos})
    return videos, torch.from_numpy(np.array(inputs).transpose(0, 1, 4, 2, 3))


@quick_jit
def ours(params, videos, mask):
    """Return loss, predictions, features, and gradients of the loss."""
    batch = {"video": videos}

    def loss(params):
        inputs = NET.inputs(batch)
        encoded = NET.encode(params, inputs, mask)
        outputs = NET.predict(params, encoded, mask)
        view = View(NET, Context(batch, NET.grids, {}), inputs, mask, encoded, outputs, {})
        per_token, weight, _, _ = OBJECTIVE.find(view)
        value = Mean(jnp.sum(per_token * weight), jnp.sum(weight)).value
        return value, (outputs["pixels"], encoded.tokens)

    (value, results), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return value, *results, grads


def assert_equal(computed, expected, what):
    expected = np.asarray(expected, np.float64)
    assert computed.shape == expected.shape, what
    difference = np.abs(np.asarray(computed, np.float64) - expected).max()
    assert difference <= PARITY * np.abs(expected).max(), (what, difference)


def drifting() -> dict[str, np.ndarray]:
    """Hints in which everything drifts down and to the right, and cubes that differ."""
    grid = (EXAMPLES, *theirs.GRID)
    features = np.random.default_rng(1).normal(size=(EXAMPLES, np.prod(theirs.GRID), 4))
    flow = np.broadcast_to(np.float32([0.7, 0.4]), (*grid, 2))
    return {"flow": flow, "features": features.astype(np.float32)}


MASKS = {
    "tube": video.tube,
    "follows the motion": warped.tube,
    "hides what moves": motion.block,
    "structured": structured.green3d,
    "redundant, all kept": partial(redundancy.tokens, predicted=0.75),
}


@pytest.mark.proves(
    21, "features, predictions, loss and all gradients equal transformers' VideoMAE"
)
@pytest.mark.proves(30, "with its masks the network is transformers' VideoMAE")
@pytest.mark.proves(53, "with every token kept it is transformers' VideoMAE")
@pytest.mark.proves(54, "with its masks the network is transformers' VideoMAE")
@pytest.mark.proves(115, "with its masks the network is transformers' VideoMAE")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.full if name != "tube" else ()) for name in MASKS]
)
def test_equals_transformers(name):
    model = theirs.peer()
    videos, pixels = clips()
    hints = drifting()
    mask = draw(MASKS[name], theirs.GRID, count=EXAMPLES, hints=hints, ratio=0.75)
    hidden = torch.tensor(mask.hidden)
    their_features = model.videomae(pixels, bool_masked_pos=hidden).last_hidden_state
    their_output = model(pixels, bool_masked_pos=hidden)
    their_output.loss.backward()
    grads = {name: p.grad for name, p in model.named_parameters()}

    params = theirs.as_ours(dict(model.named_parameters()))
    value, predictions, features, gradients = ours(params, videos, mask)
    assert_equal(features, their_features.detach(), "features")
    assert_equal(predictions, their_output.logits.detach(), "predictions")
    assert_equal(value, their_output.loss.detach(), "loss")
    expected = dict(named_leaves(theirs.as_ours(grads)))
    for path, leaf in named_leaves(gradients):
        assert_equal(leaf, expected[path], path)


def test_a_bias_of_the_keys_changes_nothing():
    """Our keys have a bias, VideoMAE's do not: the softmax cancels it."""
    model = theirs.peer(2)
    videos, _ = clips()
    mask = draw(video.tube, theirs.GRID, count=EXAMPLES, ratio=0.75)
    params = theirs.as_ours(dict(model.named_parameters()))
    value, predictions, _, _ = ours(params, videos, mask)
    for part in ("encoder", "decoder"):
        bias = params[part]["stack"]["blocks"]["attention"]["qkv"]["bias"]
        assert not bias[:, 1].any()
        bias[:, 1] = np.random.default_rng(0).normal(size=bias[:, 1].shape)
    other_value, other_predictions, _, gradients = ours(params, videos, mask)
    assert_equal(other_value, value, "loss")
    assert_equal(other_predictions, predictions, "predictions")
    gradient = gradients["encoder"]["stack"]["blocks"]["attention"]["qkv"]["bias"]
    assert np.abs(gradient[:, 1]).max() < PARITY * np.abs(gradient).max()
