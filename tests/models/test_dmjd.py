"""DMJD against the official code: targets, both losses on both views, and what each reaches."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.interop.layout import arrays_of
from maskmim.losses import smooth_l1, squared_error
from maskmim.masks.core import from_hidden
from maskmim.methods.views import masked_views
from maskmim.models.dmjd import convit, distiller
from maskmim.objectives import match, match_visible
from maskmim.targets.hog_standardised import standardised_hog, standardised_hog_patches
from maskmim.targets.shuffled import shuffled
from maskmim.training.build import build_method
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Mask, Randomness, Spec, Variables, View
from tests.comparing import close
from tests.golden.dmjd import case
from tests.golden.official_weights import params_by_name
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

SPEC = Spec((case.IMAGE, case.IMAGE), 3, (case.MEAN,) * 3, (case.STD,) * 3)
RANDOMNESS = Randomness.of(jax.random.key(0), case.EXAMPLES)
TERMS = "hidden", "aligned", "released"


@cache
def golden():
    """Return what the official code made."""
    with np.load(case.GOLDEN) as stored:
        return dict(stored)


def official_masks(randomness, context) -> tuple[Mask, Mask]:
    """The recorded masks of both views."""
    hidden = golden()["hidden"]
    return tuple(
        from_hidden(jnp.asarray(each), count=int(each[0].sum())) for each in np.split(hidden, 2)
    )


target = partial(standardised_hog_patches, cell=case.CELL)


def in_official_order(view):
    """The targets of visible tokens, in the order in which the official code compares them."""
    places = golden()["places"].reshape(2, case.EXAMPLES, -1)
    first = jnp.all(view.mask.visible == official_masks(None, None)[0].visible)
    order = jnp.where(first, *places)
    return jnp.take_along_axis(target(view), order[..., None], axis=1)


@cache
def method():
    """DMJD at the case's size, composed as the config does, with both pairings."""
    parts = case.WIDTHS, case.DEPTHS, (case.HEADS,)
    depth, width, heads = case.DECODER
    visible = partial(match_visible, call="distil", loss=partial(smooth_l1, beta=2.0))
    return masked_views(
        SPEC,
        model=partial(
            convit,
            variant="x".join("-".join(map(str, part)) for part in parts),
            patch=(case.PATCH, case.PATCH),
            decoder_depth=depth,
            decoder_width=width,
            decoder_heads=heads,
        ),
        mask=official_masks,
        objectives={
            "hidden": partial(match, head="hog", target=target, loss=squared_error),
            "aligned": partial(visible, target=target),
            "released": partial(visible, target=in_official_order),
        },
        pairs={},
        teachers={},
        calls={"distil": partial(distiller, hidden=width)},
        predicts=(0, 1),
    )


@cache
def official_params():
    """Return the official weights as our params, and {official name: shape}."""
    shapes = jax.eval_shape(lambda key: method().init(key)[0], jax.random.key(0))
    return params_by_name(case.layout(), shapes, case.weight)


@cache
def program():
    """Return a function: (params, pictures) -> predictions of both views, losses, gradients."""
    net = method().net

    @jax.jit
    def run(params, pictures):
        batch = {"image": pictures}

        def terms(params):
            losses = method().loss(Variables(params, {}, {}), batch, RANDOMNESS, 0.0)
            return jnp.stack([losses.terms[name].value for name in TERMS])

        def predictions(mask):
            everywhere = jnp.tile(jnp.arange(case.GRID**2), (case.EXAMPLES, 1))
            encoded = net.encode(params, net.inputs(batch), mask)
            outputs = net.predict(params, encoded, mask._replace(predict=everywhere))
            return outputs["hog"], net.calls["distil"](params, encoded.tokens), encoded.tokens

        values, pull = jax.vjp(terms, params)
        each = jax.vmap(lambda weights: pull(weights)[0])(jnp.eye(len(TERMS)))
        made = [predictions(mask) for mask in official_masks(None, None)]
        return tuple(map(jnp.concatenate, zip(*made, strict=True))), values, each

    return run


@cache
def outcome():
    """Return what the program gives for the official weights and pictures."""
    return jax.tree.map(np.asarray, program()(official_params()[0], case.pictures()))


def official_gradients(term: str) -> dict[str, np.ndarray]:
    """Return the recorded gradients of a loss, by official names."""
    theirs = official_params()[1]
    ends = np.cumsum([np.prod(shape) for shape in theirs.values()])
    parts = np.split(golden()[f"{term}_gradients"], ends[:-1])
    return {
        name: part.reshape(shape) for (name, shape), part in zip(theirs.items(), parts, strict=True)
    }


@pytest.mark.proves(83, "targets equal the official HOG, standardised over its bins")
def test_targets_equal_the_official_ones():
    net, places = method().net, np.arange(case.GRID**2)[:: case.SOME]
    predict = jnp.tile(places, (case.EXAMPLES, 1))
    batch = {"image": jnp.asarray(case.pictures())}
    mask = Mask(predict, predict, jnp.ones((1, 1), bool), jnp.ones(predict.shape))
    context = Context(batch, net.grids, {})
    view = View(net, context, net.inputs(batch), mask, None, {}, {})
    close(target(view)[..., case.official_order()], golden()["targets"], PARITY, "targets")
    assert np.any(golden()["targets"] == 0) and np.abs(golden()["targets"]).max() > 2


@pytest.mark.proves(83, "predictions, losses and all gradients equal the official model's")
@pytest.mark.parametrize("term", ["aligned", "released"])
def test_equals_the_official_model(term):
    (predictions, seen, _), values, each = outcome()
    order = case.official_order()
    close(predictions[:, :: case.SOME, order], golden()["predictions"], PARITY, "predictions")
    close(seen[:, :: case.SOME, order], golden()["seen"], PARITY, "visible")
    number = TERMS.index(term)
    close(values[0], golden()["hidden_loss"], PARITY, "loss")
    close(values[0] + values[number], golden()[f"{term}_loss"], PARITY, f"{term} loss")
    ours = arrays_of(case.layout(), jax.tree.map(lambda leaf: leaf[0] + leaf[number], each))
    for name, gradient in official_gradients(term).items():
        close(ours[name], gradient, PARITY, name)
        assert np.any(gradient), name


@pytest.mark.proves(83, "the released pairing of visible tokens is another loss than the paper's")
def test_the_released_pairing_differs():
    kernel = outcome()[2]["distil"]["dense_last"]["kernel"]
    apart = np.linalg.norm(kernel[2] - kernel[1])
    assert apart > 1e-3 * np.linalg.norm(kernel[1])
    assert np.any(golden()["places"] != np.arange(golden()["places"].shape[1]))


@pytest.mark.proves(83, "hidden tokens teach encoder and decoder, visible ones encoder and head")
def test_each_loss_reaches_its_part():
    hidden = official_gradients("hidden")
    ours = arrays_of(case.layout(), jax.tree.map(lambda leaf: leaf[0], outcome()[2]))
    for name, gradient in hidden.items():
        close(ours[name], gradient, PARITY, name)
    for path, leaf in named_leaves(outcome()[2]):
        of_hidden, of_visible = np.any(leaf[0]), np.any(leaf[1])
        assert of_hidden != path.startswith("distil/"), path
        assert of_visible != path.startswith("decoder/"), path


@pytest.mark.proves(83, "no token of a view reads a pixel that this view hides")
def test_hidden_pixels_reach_no_token():
    """The pixels that the first view hides are all that the second view shows, and more."""
    net, (first, second) = method().net, official_masks(None, None)
    assert np.all(np.asarray(first.hidden) | np.asarray(second.hidden))
    pictures = jnp.asarray(case.pictures())
    patches = net.patchify(pictures)
    changed = net.restore(jnp.where(first.hidden[..., None], 255 - patches, patches))
    tokens = outcome()[0][2]
    (_, _, others), _, _ = program()(official_params()[0], changed.astype(jnp.uint8))
    same, moved = (np.split(np.asarray(each), 2) for each in (tokens == others, tokens != others))
    assert np.all(same[0]) and np.any(moved[1])


@pytest.mark.proves(83, "a histogram does not change with brightness and contrast")
def test_contrast_does_not_matter():
    pictures = np.random.default_rng(0).integers(0, 100, (1, 16, 16, 3)).astype(np.float32)
    close(standardised_hog(2 * pictures + 9), standardised_hog(pictures), 1e-5, "histograms")
    assert not np.any(standardised_hog(np.full((1, 8, 8, 3), 7.0)))


def test_bins_are_angles():
    """Bin 0 is a gradient to the right, the fifth of nine one downwards."""
    ramp = np.arange(16.0)[None, :, None, None] * np.ones((1, 1, 16, 1))
    downwards = np.asarray(standardised_hog(ramp))
    to_the_right = np.asarray(standardised_hog(ramp.transpose(0, 2, 1, 3)))
    assert np.all(downwards.argmax(-1) == 4) and np.all(to_the_right.argmax(-1) == 0)


def test_shuffled_targets_are_those_of_the_example():
    values = jnp.arange(24.0).reshape(2, 12, 1)
    view = View(None, None, None, None, None, {}, {}, (), Randomness.of(jax.random.key(1), 2))
    other = np.asarray(shuffled(view, target=lambda _: values))
    np.testing.assert_array_equal(np.sort(other, axis=1), values)
    assert np.any(other != values) and np.any(other[0] != other[1] - 12)


def test_without_a_mask_the_stages_are_not_added_up():
    """As in fine-tuning; layers of the sum change nothing there."""
    net, params = method().net, official_params()[0]
    batch = {"image": case.pictures()}
    tokens = net.encode(params, net.inputs(batch), None).tokens
    encoder = dict(params["encoder"])
    for name in ("fuse0", "fuse1", "fused_norm"):
        encoder[name] = jax.tree.map(jnp.zeros_like, encoder[name])
    other = {**params, "encoder": encoder}
    np.testing.assert_array_equal(net.encode(other, net.inputs(batch), None).tokens, tokens)


def test_the_published_recipe():
    config = load("dmjd")
    assert (config.train.epochs, config.train.batch_size) == (400, 512)
    assert config.schedule.warmup_epochs == 20
    assert config.optim.lr == pytest.approx(1e-3) and config.optim.lr_per == 256
    assert load("dmjd:variant=L").optim.clip_norm == 3.0
    assert list(load("dmjd:seen=none").objectives) == ["hidden"]
    _, method = build_method(config)
    params = jax.eval_shape(lambda key: method.init(key)[0], jax.random.key(0))
    learnt = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert learnt == golden()["parameters"]
