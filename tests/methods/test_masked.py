"""The generic composition: what reaches what, and what is refused when it is built."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.config import facts
from maskmim.masks.core import from_scores
from maskmim.methods.masked import MethodError
from maskmim.targets.pixels import normalised_patches, patches
from maskmim.training.train_step import make_train_step
from maskmim.types import Randomness, Teacher
from tests.tiny import begin, pictures, tiny_method, tiny_model


def inputs_of(method, examples=4, seed=0):
    variables = method.variables(jax.random.key(0))
    batch = {"image": pictures(examples)}
    return variables, batch, Randomness.of(jax.random.key(seed), examples)


def test_the_loss_is_the_mean_over_predicted_patches_of_squared_errors():
    method = tiny_method()
    variables, batch, randomness = inputs_of(method)
    losses = method.loss(variables, batch, randomness, jnp.float32(0))
    reconstruction = method.apply["reconstruct"](variables, batch, randomness)
    error = (np.asarray(reconstruction["prediction"]) - np.asarray(reconstruction["target"])) ** 2
    assert reconstruction["target"].shape == (4, 9, 192)
    np.testing.assert_allclose(losses.terms["pixels"].value, error.mean(), rtol=1e-5)


def test_targets_are_the_pixels_of_the_hidden_patches_in_numpy():
    method = tiny_method(target=patches)
    variables, batch, randomness = inputs_of(method)
    reconstruction = method.apply["reconstruct"](variables, batch, randomness)
    image = (batch["image"] / 255.0 - 0.5) / 0.25
    for example in range(4):
        for index, token in enumerate(np.asarray(reconstruction["mask"].predict[example])):
            row, column = divmod(int(token), 3)
            cut = image[example, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
            np.testing.assert_allclose(
                reconstruction["target"][example, index], cut.reshape(-1), rtol=1e-5, atol=1e-6
            )


@pytest.mark.parametrize("target", [patches, normalised_patches])
def test_a_perfect_prediction_turns_back_into_the_true_pixels(target):
    method = tiny_method(target=target)
    variables, batch, randomness = inputs_of(method)
    reconstruction = method.apply["reconstruct"](variables, batch, randomness)
    all_patches = method.net.patchify(reconstruction["inputs"])
    true = jnp.take_along_axis(all_patches, reconstruction["mask"].predict[..., None], axis=1)

    class View:
        net, inputs, mask = method.net, reconstruction["inputs"], reconstruction["mask"]

    np.testing.assert_allclose(
        facts.facts_of(target).pixels(View, reconstruction["target"]), true, atol=1e-5
    )


def test_hidden_pixels_do_not_reach_the_encoder():
    """Changing what is hidden changes no prediction; changing what is visible does."""
    method = tiny_method()
    variables, batch, randomness = inputs_of(method)
    first = method.apply["reconstruct"](variables, batch, randomness)
    hidden = np.asarray(method.net.restore(first["mask"].hidden[..., None] * jnp.ones((1, 1, 192))))
    changed = {"image": np.where(hidden > 0, 255 - batch["image"], batch["image"])}
    second = method.apply["reconstruct"](variables, changed, randomness)
    np.testing.assert_array_equal(first["prediction"], second["prediction"])
    seen = {"image": np.where(hidden > 0, batch["image"], 255 - batch["image"])}
    third = method.apply["reconstruct"](variables, seen, randomness)
    assert np.abs(np.asarray(third["prediction"] - first["prediction"])).max() > 1e-3


def test_encode_sees_every_token_and_never_masks():
    method = tiny_method()
    variables, batch, _ = inputs_of(method)
    encoded = method.apply["encode"](variables, batch)
    assert encoded.tokens.shape == (4, 12, 32)


def test_gradients_reach_every_parameter():
    method = tiny_method()
    variables, batch, randomness = inputs_of(method)

    def loss(params):
        changed = variables._replace(params=params)
        return method.loss(changed, batch, randomness, jnp.float32(0)).terms["pixels"].value

    for path, grad in jax.tree_util.tree_leaves_with_path(jax.grad(loss)(variables.params)):
        assert np.abs(np.asarray(grad)).max() > 0, jax.tree_util.keystr(path)


def averaging_teacher():
    """An averaged copy of the weights that looks at the whole image and scores its tokens."""

    def init(key, net, params):
        return {"average": params, "updates": jnp.zeros(())}

    def find(net, extra, frozen, context, mask):
        encoded = net.encode(extra["average"], net.inputs(context.batch), None)
        return {"scores": jnp.sum(encoded.tokens**2, -1) + frozen["offset"]}

    def refresh(extra, params, carry, progress):
        mixed = optax.incremental_update(params, extra["average"], 0.25)
        return {"average": mixed, "updates": extra["updates"] + 1}

    def freeze():
        return {"offset": jnp.arange(12.0)}

    return Teacher(("scores",), False, init, find, refresh, freeze)


@facts.sampler(needs=("scores",))
def hinted(randomness, context, *, ratio):
    return from_scores(context.hints["scores"], ratio=ratio)


def test_a_teacher_informs_the_mask_and_is_refreshed_and_gets_no_gradient():
    method = tiny_method(partial(hinted, ratio=0.5), {"average": averaging_teacher})
    optimiser = optax.sgd(0.1)
    state, frozen = begin(method, optimiser)
    start = state.params
    step = jax.jit(make_train_step(method, optimiser, seed=0, total_steps=4))
    state, _ = step(state, frozen, {"image": pictures(4)})
    expected = optax.incremental_update(state.params, start, 0.25)
    for leaf, expected_leaf in zip(
        jax.tree.leaves(state.extra["average"]["average"]), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(leaf, expected_leaf, rtol=1e-6, atol=1e-7)
    assert float(state.extra["average"]["updates"]) == 1
    mask = method.apply["mask"](
        method.variables(jax.random.key(0)),
        {"image": pictures(4)},
        Randomness.of(jax.random.key(0), 4),
    )["mask"]
    assert mask.visible.shape == (4, 6)
    assert np.mean(np.asarray(mask.visible) >= 6) > 0.9  # the offset makes late tokens strongest


def test_a_sampler_without_the_teacher_it_needs_is_refused():
    with pytest.raises(MethodError, match=r"hinted.*needs the hints \['scores'\].*no teacher"):
        tiny_method(partial(hinted, ratio=0.5))


def test_a_hint_that_comes_after_the_mask_is_too_late_for_the_sampler():
    def late():
        return averaging_teacher()._replace(sees_mask=True)

    with pytest.raises(MethodError, match="only after the mask is drawn"):
        tiny_method(partial(hinted, ratio=0.5), {"late": late})


def test_the_chain_names_what_it_is_made_of():
    text = dict(tiny_method(model=tiny_model(registers=2)).chain)
    assert text["tokens"] == "image 4x3"
    assert "green(ratio=0.75)" in text["sampler"]
    assert "2 registers" in text["encoder"]
    assert "normalised_patches" in text["objective pixels"]
