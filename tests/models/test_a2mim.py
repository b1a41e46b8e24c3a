"""A2MIM: hidden pixels leave their mean colour alone, the token is added, spectra are compared."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.masks.core import from_hidden
from maskmim.masks.roles import hidden_weighted, in_place
from maskmim.models.a2mim import a2mim_resnet, a2mim_vit, add_token, fill_with_means
from maskmim.models.layers.errors import ModelError
from maskmim.objectives.frequency import batch_frequency
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Encoded, Mean, Spec, View
from tests.comparing import close
from tests.compiling import quick_jit
from tests.golden.a2mim import case
from tests.running import ROOT
from tests.tolerances import PARITY, REORDERED

pytestmark = pytest.mark.full

SPEC = Spec((case.IMAGE, case.IMAGE), 3, (0.0,) * 3, (1.0,) * 3, dtype="float32")
PATCH = (case.PATCH, case.PATCH)
NETS = {
    "vit": partial(a2mim_vit, variant="2x16x2", patch=PATCH, drop_path=0.0),
    "resnet": partial(a2mim_resnet, variant="4x1-1", masked_stage=1, start=0.5),
}


@cache
def golden():
    return dict(np.load(case.GOLDEN))


def mask_of(hidden):
    """The mask of hidden tokens bool[B, N], all in place and predicted, hidden ones weighted."""
    sampler = lambda *_: from_hidden(jnp.asarray(hidden), count=int(hidden[0].sum()))  # noqa: E731
    return hidden_weighted(None, None, sampler=partial(in_place, sampler=sampler))


def random_params(net, seed=0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(net.init, jax.random.key(seed))
    return jax.tree.map(lambda x: rng.normal(0, 0.4, x.shape).astype(np.float32), shapes)


@pytest.mark.proves(51, "hidden pixels become the means of the picture's channels, exactly")
def test_the_filling_is_the_mean_of_each_channel():
    net = NETS["vit"](SPEC)
    picture, hidden = case.pictures(0), case.hidden().reshape(case.EXAMPLES, -1)
    filled = np.asarray(net.restore(fill_with_means(net.patchify(picture), hidden, 3)))
    close(filled, golden()["filled"], PARITY)
    of_pixels = case.hidden().repeat(case.PATCH, axis=1).repeat(case.PATCH, axis=2)
    means = picture.astype(np.float64).mean(axis=(1, 2))
    for example, where in enumerate(of_pixels):
        wanted = np.broadcast_to(means[example], filled[example][where].shape)
        np.testing.assert_allclose(filled[example][where], wanted, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(filled[example][~where], picture[example][~where])


@pytest.mark.proves(51, "of hidden pixels the mean colour alone reaches features and predictions")
@pytest.mark.parametrize("name", NETS)
def test_hidden_pixels_are_unseen_but_for_their_mean(name):
    net = NETS[name](SPEC)
    length = np.prod(next(iter(net.grids.values())))
    hidden = np.arange(length)[None] % 2 == np.array([0, 1, 0])[:, None]
    mask, params = mask_of(hidden), random_params(net)

    @quick_jit
    def run(picture):
        encoded = net.encode(params, picture, mask)
        return encoded.tokens, net.predict(params, encoded, mask)["pixels"]

    picture = case.pictures(0)
    patches = np.asarray(net.patchify(picture)).copy()
    values = patches[hidden].reshape(case.EXAMPLES, -1, 3)
    order = np.random.default_rng(0).permutation(values.shape[1])
    patches[hidden] = values[:, order].reshape(patches[hidden].shape)
    plain, moved = run(picture), run(net.restore(patches))
    shifted = run(net.restore(np.where(hidden[..., None], patches + 0.5, patches)))
    for found, same, other in zip(plain, moved, shifted, strict=True):
        close(same, found, 10 * REORDERED)
        assert np.abs(np.asarray(other - found)).max() > 0.01


@pytest.mark.proves(51, "the mask token is added to hidden features as in the official code")
def test_the_token_is_added():
    hidden, token, features = case.hidden(), case.token(), case.features()
    rows = features.reshape(case.EXAMPLES, -1, case.CHANNELS)
    flat = hidden.reshape(case.EXAMPLES, -1, 1)
    close(add_token(rows, flat, token[None, None], 1.0), golden()["vit_tokens"], PARITY)
    scale = np.full((1, 1, 1, case.CHANNELS), case.START, np.float32)
    masked = add_token(features, hidden[..., None], token[None, None, None], scale)
    close(masked, golden()["resnet_features"], PARITY)


@pytest.mark.proves(51, "the token enters at hidden tokens alone: embeddings, or the last stage")
@pytest.mark.parametrize("name", NETS)
def test_where_the_token_enters(name):
    net = NETS[name](SPEC)
    length = np.prod(next(iter(net.grids.values())))
    hidden = np.arange(length)[None] % 2 == np.array([0, 1, 0])[:, None]
    mask, params = mask_of(hidden), random_params(net)
    kept = "embedded" if name == "vit" else "stages"

    @quick_jit
    def run(change):
        token = params["encoder"]["mask_token"] + change
        changed = {**params, "encoder": {**params["encoder"], "mask_token": token}}
        return net.encode(changed, case.pictures(0), mask, capture=(kept,))

    one, other = run(0.0), run(1.0)
    if name == "vit":
        moved = np.abs(other.embedded - one.embedded)[:, 1:].max(axis=-1)
        np.testing.assert_array_equal(moved > 0, hidden)
    else:
        np.testing.assert_array_equal(one.stages[0], other.stages[0])
        assert np.any(one.stages[1] != other.stages[1])


def terms_of(name):
    """(objective, scale) of the config of a model, by name."""
    config = load(f"{ROOT}/configs/a2mim.py:model={name}")
    return {key: bind(section)() for key, section in config.objectives.items()}


@pytest.mark.proves(51, "the losses of both heads and their gradients equal the official head's")
@pytest.mark.parametrize("name", case.HEADS)
def test_losses_equal_the_official_head(name):
    net = NETS["vit"](SPEC)
    mask = mask_of(case.hidden().reshape(case.EXAMPLES, -1))
    terms = terms_of(name)

    def loss(predicted):
        outputs = {"pixels": net.patchify(predicted)}
        encoded = Encoded(jnp.zeros((1, 0, 1)), jnp.zeros((1, 0, 1)))
        context = Context({}, net.grids, {})
        view = View(net, context, case.pictures(0), mask, encoded, outputs, {})
        total = 0.0
        for term in terms.values():
            per_token, weight, _, _ = term.find(view)
            total += term.scale * Mean(jnp.sum(per_token * weight), jnp.sum(weight)).value
        return total

    value, gradient = quick_jit(jax.value_and_grad(loss))(case.pictures(1))
    close(value, golden()[f"{name}_loss"], PARITY)
    close(gradient, golden()[f"{name}_gradient"], PARITY)
    visible = ~case.hidden().repeat(case.PATCH, axis=1).repeat(case.PATCH, axis=2)
    assert bool(np.any(np.asarray(gradient)[visible])) == (name == "resnet")


def test_means_are_of_pictures_that_follow_each_other():
    """Of 6 pictures and at most 4 in a mean there are two means of 3."""
    net = NETS["vit"](SPEC)
    rng = np.random.default_rng(0)
    truth, predicted = rng.standard_normal((2, 6, *SPEC.shape)).astype(np.float32)
    mask = mask_of(np.tile(case.hidden().reshape(case.EXAMPLES, -1), (2, 1)))
    encoded = Encoded(jnp.zeros((1, 0, 1)), jnp.zeros((1, 0, 1)))

    @partial(jax.jit, static_argnames=("rows", "most"))
    def find(rows, most):
        rows = np.arange(*rows)
        part = jax.tree.map(lambda each: each[rows], mask)
        outputs = {"pixels": net.patchify(predicted[rows])}
        view = View(net, Context({}, net.grids, {}), truth[rows], part, encoded, outputs, {})
        return batch_frequency(head="pixels", pictures=most).find(view)[0]

    apart = [find((0, 3), 3), find((3, 6), 3)]
    np.testing.assert_allclose(find((0, 6), 4), np.concatenate(apart), rtol=PARITY)
    assert find((0, 6), 6).shape == (1,)


def test_predictions_of_some_tokens_are_an_error():
    net = NETS["vit"](SPEC)
    hidden = jnp.asarray(case.hidden().reshape(case.EXAMPLES, -1))
    mask = from_hidden(hidden, count=case.HIDDEN)
    outputs = {"pixels": jnp.zeros((case.EXAMPLES, case.HIDDEN, 48))}
    view = View(net, Context({}, net.grids, {}), case.pictures(0), mask, None, outputs, {})
    with pytest.raises(ModelError, match=r"all 16 tokens.*hidden_weighted"):
        batch_frequency(head="pixels").find(view)


def test_an_unknown_stage_is_an_error():
    with pytest.raises(ModelError, match="masked_stage 2: this ResNet has the stages 0 to 1"):
        a2mim_resnet(SPEC, variant="4x1-1", masked_stage=2)


def test_the_last_norms_of_blocks_start_at_zero():
    params = quick_jit(NETS["resnet"](SPEC).init)(jax.random.key(0))
    for path, leaf in named_leaves(params):
        if path.endswith("norm3/scale"):
            assert not np.any(leaf)
        elif path.endswith("norm1/scale"):
            np.testing.assert_array_equal(leaf, 1)
