"""Latent MIM against the official model: patches, targets, predictions, every term, gradients."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.data.gapped_crop import cut_patches
from maskmim.interop.layout import arrays_of
from maskmim.losses.feature import patch_discrimination
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_scores
from maskmim.methods.masked import sum_objectives
from maskmim.models.latent_mim import POSITIONS, PROJECTED, near_cues, vit_latent_mim
from maskmim.models.layers.posembed import fixed_positions
from maskmim.objectives.matching import match
from maskmim.objectives.mean_cosine import given_tokens, mean_cosine, predicted
from maskmim.targets.features import features, standardised_features
from maskmim.teachers.features import predicted_tokens
from maskmim.training.build import build_method
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Randomness, Spec, Variables, View
from tests.comparing import close
from tests.compiling import quick_jit
from tests.golden.latent_mim import case
from tests.golden.official_weights import params_by_name
from tests.tiny import pictures

pytestmark = pytest.mark.full

IMAGE = case.SIDE * case.PATCH
MASK = from_scores(-jnp.asarray(case.noise()), ratio=1 - case.VISIBLE / case.SIDE**2)


def official_net():
    """The case's network."""
    return vit_latent_mim(
        Spec((IMAGE, IMAGE), 3, (0.0,) * 3, (1.0,) * 3, dtype="float32"),
        variant="x".join(map(str, case.ENCODER)),
        patch=(case.PATCH, case.PATCH),
        projector_layers=case.PROJECTOR[0],
        projector_hidden=case.PROJECTOR[1],
        decoder_depth=case.DECODER[0],
        decoder_width=case.DECODER[1],
        decoder_heads=case.DECODER[2],
    )


def cut():
    """The case's pictures f32[B, H, W, 3] of patches that are cut out of their cells."""
    offsets = case.offsets().swapaxes(0, 1)
    patch = (case.PATCH, case.PATCH)
    return np.stack(
        [cut_patches(*each, patch) for each in zip(case.pictures(), offsets, strict=True)]
    )


def terms():
    """The objectives of the published loss with the case's scale, and the official norm_l2."""
    held = partial(mean_cosine, start=case.COSINE, end=case.COSINE, scale=case.SCALE)
    infonce = partial(patch_discrimination, temperature=case.TEMPERATURE)
    return {
        "infonce": match(head="features", target=features, loss=infonce),
        "cosine_predicted": held(source=partial(predicted, head="features")),
        "cosine_visible": held(source=partial(given_tokens, name=PROJECTED)),
        "norm_l2": match(
            head="features", target=standardised_features, loss=squared_error, scale=0.0
        ),
    }


@cache
def outcome():
    """The losses, the view, the gradients of the loss and the official shapes by name."""
    net = official_net()
    params, theirs = params_by_name(
        case.layout(), jax.eval_shape(net.init, jax.random.key(0)), case.weight
    )
    shared = {part: params[part] for part in ("encoder", "projector")}
    teacher, _ = params_by_name(case.encoder("target_encoder"), shared, case.weight)
    batch = {"image": cut()}

    def run(params):
        context = Context(batch, net.grids, {}, 0.3)
        hints = predicted_tokens(net, teacher, context, MASK, given=PROJECTED)
        inputs = net.inputs(batch)
        encoded = net.encode(params, inputs, MASK)
        outputs = net.predict(params, encoded, MASK)
        context = Context(batch, net.grids, hints, 0.3)
        losses = sum_objectives(terms(), View(net, context, inputs, MASK, encoded, outputs, {}))
        found = {name: term.value for name, term in losses.terms.items()}
        total = sum(losses.scales[name] * value for name, value in found.items())
        cosines = {name: value.value for name, value in losses.metrics.items()}
        return total, (found, cosines, encoded.given[PROJECTED][:, 1:], outputs, hints)

    (total, made), gradients = jax.jit(jax.value_and_grad(run, has_aux=True))(params)
    return total, made, gradients, theirs


@pytest.mark.proves(
    133,
    "patches, targets, predictions, each term of the loss, the loss and all gradients equal "
    "the official model's",
)
def test_equals_the_official_model():
    golden = np.load(case.GOLDEN)
    total, (found, cosines, visible, outputs, hints), gradients, theirs = outcome()
    net = official_net()
    close(net.patchify(cut()), golden["patches"], name="patches")
    close(visible, golden["visible"], name="visible")
    targets = np.take_along_axis(
        np.asarray(hints["features"]), np.asarray(MASK.predict)[..., None], 1
    )
    close(targets, golden["targets"], name="targets")
    close(outputs["features"], golden["predictions"], name="predictions")
    close(found["infonce"], golden["infonce"], name="infonce")
    close(found["norm_l2"], golden["norm_l2"], name="norm_l2")
    for name, cosine in zip(("predicted", "visible"), golden["cosines"], strict=True):
        close(cosines[f"cosine_{name}/cosine"], cosine, name=name)
        close(found[f"cosine_{name}"], (cosine - case.COSINE) ** 2, name=name)
    close(total, golden["loss"], name="loss")
    ends = np.cumsum([np.prod(shape) for shape in theirs.values()])
    ours = arrays_of(case.layout(), gradients)
    expected = np.split(golden["gradients"], ends[:-1])
    for (name, shape), gradient in zip(theirs.items(), expected, strict=True):
        close(ours[name], gradient.reshape(shape), name=name)
        assert np.any(ours[name]), name


def test_positions_equal_the_official_ones():
    table = fixed_positions(POSITIONS, case.ENCODER[1], (case.SIDE, case.SIDE))
    close(table, np.load(case.GOLDEN)["positions"][1:])


@pytest.fixture(scope="module")
def tiny():
    """The tiny method, its variables, a batch and a jitted function of what the step computes.

    The function returns each term, its gradients by params, and those of their sum by the teacher.
    """
    _, method = build_method(load("latent_mim:tiny"))
    variables = jax.jit(method.variables)(jax.random.key(0))
    batch = {"image": np.tile(pictures(4), (1, 1, 2, 1))[:, :, :32]}
    randomness = Randomness.of(jax.random.key(1), 4)

    def term(params, extra, name):
        losses = method.loss(Variables(params, extra, variables.frozen), batch, randomness, 0.0)
        return sum(value.value for key, value in losses.terms.items() if name in (key, "all"))

    names = ("features", "cosine_predicted", "cosine_visible")
    by_term = {name: jax.grad(term) for name in names}

    @quick_jit
    def gradients(params, extra):
        of_teacher = jax.grad(term, argnums=1)(params, extra, "all")
        return {n: back(params, extra, n) for n, back in by_term.items()}, of_teacher

    return method, variables, batch, randomness, gradients


@pytest.mark.proves(
    133,
    "predictions train encoder, projector and decoder, the cosine of visible latents not the "
    "decoder, and nothing trains the averaged encoder",
)
def test_gradients_reach_what_they_should(tiny):
    _, variables, _, _, gradients = tiny
    of_student, of_teacher = gradients(variables.params, variables.extra)
    for name, found in of_student.items():
        for path, leaf in named_leaves(found):
            reached = name != "cosine_visible" or not path.startswith("decoder/")
            # What is added to all predictions is removed by patch discrimination.
            if (name, path) != ("features", "decoder/head_features/bias"):
                assert bool(np.any(leaf)) == reached, (name, path)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(of_teacher))


@pytest.mark.proves(
    133, "targets depend on the predicted patches alone, predictions on the visible ones alone"
)
def test_targets_see_what_predictions_do_not(tiny):
    method, variables, batch, randomness, _ = tiny
    net, teacher = method.net, variables.extra["average"]
    mask = method.apply["mask"](variables, batch, randomness)["mask"]
    hidden = np.asarray(mask.hidden)[..., None]
    patches = np.asarray(net.patchify(net.inputs(batch)))

    @quick_jit
    def both(patches):
        shown = {"image": net.display(net.restore(patches))}
        context = Context(shown, net.grids, {})
        hints = predicted_tokens(net, teacher, context, mask, given=PROJECTED)
        encoded = net.encode(variables.params, net.inputs(shown), mask)
        return hints["features"], net.predict(variables.params, encoded, mask)["features"]

    targets, predictions = both(patches)
    for changed, equal, other in (
        (np.where(hidden, patches, -patches), 0, 1),
        (np.where(hidden, -patches, patches), 1, 0),
    ):
        found = both(changed)
        np.testing.assert_array_equal(found[equal], (targets, predictions)[equal])
        assert np.any(found[other] != (targets, predictions)[other])
    assert not np.any(np.asarray(targets)[~hidden[..., 0]])


def test_the_target_is_averaged_and_evaluation_reads_the_encoder_without_its_projector(tiny):
    method, variables, batch, _, _ = tiny
    assert set(variables.extra["average"]) == {"encoder", "projector"}
    moved = jax.tree.map(lambda leaf: leaf + 1, variables.params)
    later = method.refresh(Variables(moved, variables.extra, ()), {}, 0.0)["average"]
    for old, new in zip(*map(jax.tree.leaves, (variables.extra["average"], later)), strict=True):
        np.testing.assert_allclose(new, old + 0.01, rtol=1e-4, atol=1e-5)
    encoded = quick_jit(method.apply["encode"])(variables, batch)
    assert encoded.tokens.shape == (4, 16, 32) and encoded.given[PROJECTED].shape == (4, 17, 32)
    assert np.abs(encoded.tokens - encoded.given[PROJECTED][:, 1:]).max() > 0.1


def test_cues_are_visible_tokens_by_the_nearness_of_their_positions():
    rng = np.random.default_rng(0)
    table = fixed_positions(POSITIONS, 8, (4, 4))
    wanted, known = table[[[1, 5]]], table[[[0, 6, 15]]]
    seen = rng.standard_normal((1, 3, 8)).astype(np.float32)
    scores = np.exp(wanted[0] @ known[0].T / np.sqrt(8))
    expected = scores / scores.sum(axis=1, keepdims=True) @ seen[0]
    close(near_cues(jnp.asarray(wanted), jnp.asarray(known), jnp.asarray(seen))[0], expected)


def test_the_published_recipe():
    config = load("latent_mim")
    assert (config.train.batch_size, config.train.epochs) == (4096, 800)
    assert (config.optim.lr, config.optim.lr_per, config.optim.b2) == (1.5e-4, 256, 0.95)
    schedule, augment = config.schedule, config.data.augment
    assert (schedule.warmup_epochs, schedule.initial, schedule.final) == (40, 0.25, 0.25)
    assert (augment.patch, augment.gap, augment.scale) == ((16, 16), 4, (0.2, 1.0))
    scales = {name: term.scale for name, term in config.objectives.items()}
    assert scales == {"features": 1.0, "cosine_predicted": 0.1, "cosine_visible": 0.1}
    assert config.objectives.features.loss.temperature == 0.2
    _, method = build_method(config)
    batch = {"image": np.zeros((1, 224, 224, 3), np.uint8)}
    randomness = Randomness.of(jax.random.key(0), 1)
    context = Context(batch, method.net.grids, {})
    mask = jax.eval_shape(lambda: bind(config.mask)(randomness, context))
    assert (mask.visible.shape, mask.predict.shape) == ((1, 20), (1, 176))


def test_controls_change_the_target_and_the_loss():
    config = load("latent_mim:tiny,gap=0,target=shared,loss=l2")
    assert config.data.augment.gap == 0
    assert (config.teachers.average.momentum.start, config.teachers.average.momentum.end) == (0, 0)
    assert config.objectives.features.loss.brick.endswith("squared_error")
    assert config.objectives.cosine_visible.scale == config.objectives.cosine_predicted.scale == 0
