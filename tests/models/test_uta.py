"""UTA: the official student's numbers, positions of tokens, visible tokens alone."""

from __future__ import annotations

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.checkpoints.workdir import save_config
from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.interop.layout import arrays_of
from maskmim.losses import cosine
from maskmim.masks.core import from_scores
from maskmim.methods.masked import masked
from maskmim.models.eva_vit import vit_eva
from maskmim.models.frozen_vit import random_vit
from maskmim.models.layers.rotary import RotaryError, axial_angles, rotate_pairs
from maskmim.models.projectors import linear
from maskmim.objectives import match_visible
from maskmim.targets import features
from maskmim.teachers.frozen import features as whole_features
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Mask, Randomness, Spec, Variables, View
from tests.comparing import close
from tests.golden.official_weights import params_by_name
from tests.golden.uta import case
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

ZEROS, ONES = (0.0,) * 3, (1.0,) * 3
PATCH = (case.PATCH, case.PATCH)
SIZE = "x".join(map(str, case.STUDENT))
RANDOMNESS = Randomness.of(jax.random.key(0), case.EXAMPLES)


def official_mask(randomness, context) -> Mask:
    """The official masks: the largest noise is visible."""
    return from_scores(jnp.asarray(case.noise()), ratio=case.RATIO)


def objective(**changes):
    """The objective of the config."""
    keywords = {"call": "align", "target": features.features, "loss": cosine}
    return match_visible(class_target=features.class_feature, **{**keywords, **changes})


def teacher():
    """A fixed random network that sees whole pictures."""
    network = partial(random_vit, variant="1x8x2", patch=PATCH, mean=ZEROS, std=ONES)
    return whole_features(network=network, class_token=True)


def whole_hints(images) -> dict[str, np.ndarray]:
    """What the method's own teacher makes of pictures."""
    context = Context({"image": jnp.asarray(images)}, method().net.grids, {})
    hints = teacher().find(None, (), teacher().freeze(), context, None)
    return {name: np.asarray(hint) for name, hint in hints.items()}


@cache
def method():
    """UTA at the case's size, composed as the config does."""
    return masked(
        Spec((case.IMAGE, case.IMAGE), 3, ZEROS, ONES, dtype="float32"),
        model=partial(vit_eva, variant=SIZE, patch=PATCH),
        mask=official_mask,
        objectives={"align": objective},
        teachers={"whole": teacher},
        calls={"align": partial(linear, values=case.VALUES)},
    )


@cache
def official_params():
    """Return the official weights as our params, and {official name: shape}."""
    shapes = jax.eval_shape(lambda key: method().init(key)[0], jax.random.key(0))
    return params_by_name(case.layout(), shapes, case.weight)


def pictures():
    """The case's pictures, channels last."""
    return case.pictures().transpose(0, 2, 3, 1)


@cache
def program():
    """Return a function: (params, pictures) -> loss, the layer's outputs and tokens, gradients."""
    net, hints = method().net, jnp.asarray(case.features())

    def loss(params, images):
        batch, mask = {"image": images}, official_mask(None, None)
        given = {"features": hints[:, 1:], "class_feature": hints[:, 0]}
        inputs = net.inputs(batch)
        encoded = net.encode(params, inputs, mask)
        context = Context(batch, net.grids, given)
        view = View(net, context, inputs, mask, encoded, {}, {}, params)
        per_token, weight, _, _ = objective().find(view)
        tokens = jnp.concatenate([encoded.prefix, encoded.tokens], axis=1)
        value = jnp.sum(per_token * weight) / jnp.sum(weight)
        return value, (net.calls["align"](params, tokens), tokens)

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))


@cache
def outcome():
    """Return what the program gives for the official weights and pictures."""
    return jax.tree.map(np.asarray, program()(official_params()[0], jnp.asarray(pictures())))


@pytest.mark.proves(
    103, "outputs, loss and all gradients of the student equal those of the official network"
)
def test_equals_the_official_student():
    golden = np.load(case.GOLDEN)
    (loss, (outputs, _)), (gradients, _) = outcome()
    np.testing.assert_array_equal(official_mask(None, None).visible, golden["visible"])
    close(outputs, golden["outputs"], PARITY, "outputs")
    close(loss, golden["loss"], PARITY, "loss")
    theirs = official_params()[1]
    ends = np.cumsum([np.prod(shape) for shape in theirs.values()])
    ours = arrays_of(case.layout(), gradients)
    expected = np.split(golden["gradients"], ends[:-1])
    for (name, shape), gradient in zip(theirs.items(), expected, strict=True):
        close(ours[name], gradient.reshape(shape), PARITY, name)
        assert np.any(ours[name]), name


@pytest.mark.proves(103, "without a mask the class token equals the official network's")
def test_whole_pictures_equal_the_official_student():
    net, params = method().net, official_params()[0]
    encoded = net.encode(params, net.inputs({"image": pictures()}), None)
    outputs = net.calls["align"](params, encoded.prefix[:, 0])
    close(outputs, np.load(case.GOLDEN)["whole"], PARITY, "whole")


@pytest.mark.proves(
    103, "the student reads visible patches alone, the loss only what it made of them"
)
def test_hidden_patches_reach_nothing():
    """But for the teacher, which sees the whole picture."""
    (loss, (_, tokens)), (_, of_pixels) = outcome()
    hidden = np.asarray(official_mask(None, None).hidden)
    reached = np.any(np.asarray(method().net.patchify(of_pixels)) != 0, axis=-1)
    np.testing.assert_array_equal(reached, ~hidden)
    assert tokens.shape[1] == 1 + case.GRID**2 // 2
    patches = method().net.patchify(jnp.asarray(pictures()))
    changed = method().net.restore(jnp.where(hidden[..., None], patches + 1, patches))
    (same, _), _ = program()(official_params()[0], changed)
    assert same == loss
    first, second = (whole_hints(each)["class_feature"] for each in (pictures(), changed))
    assert np.all(first != second)


@pytest.mark.proves(103, "the loss is the mean of 1 - cosine over visible tokens and class token")
def test_the_loss_is_a_mean_of_cosines():
    """In numpy, with the method's own teacher; every parameter learns, none of the teacher's."""
    params, frozen = official_params()[0], method().freeze()
    batch = {"image": jnp.asarray(pictures())}

    @jax.jit
    def run(params):
        losses = method().loss(Variables(params, {"whole": ()}, frozen), batch, RANDOMNESS, 0.0)
        return losses.terms["align"].value

    hints = whole_hints(pictures())
    (_, (outputs, _)), (gradients, _) = outcome()
    visible = np.asarray(official_mask(None, None).visible)
    wanted = np.take_along_axis(np.asarray(hints["features"]), visible[..., None], axis=1)
    wanted = np.concatenate([np.asarray(hints["class_feature"])[:, None], wanted], axis=1)
    lengths = np.linalg.norm(outputs, axis=-1) * np.linalg.norm(wanted, axis=-1)
    close(run(params), np.mean(1 - (outputs * wanted).sum(-1) / lengths), PARITY, "loss")
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradients))
    assert {path.split("/")[0] for path, _ in named_leaves(gradients)} == {"align", "encoder"}


def test_positions_and_class_token_are_not_decayed():
    """As no_weight_decay of the official network says; of the rest no single row is."""
    exempt, names = load("uta").optim.no_decay, [path for path, _ in named_leaves(outcome()[1][0])]
    decayed = [name for name in names if not any(re.search(each, name) for each in exempt)]
    assert {name.rsplit("/")[-1] for name in decayed} == {"kernel"}


@pytest.mark.proves(
    103, "scores of rotated queries and keys depend on the distance of tokens alone"
)
def test_rotation_is_relative():
    angles = axial_angles((4, 5), 8)[None, None]
    rng = np.random.default_rng(0)
    query, key = (np.broadcast_to(rng.normal(size=8), (1, 1, 20, 8)) for _ in range(2))
    query, key = (np.asarray(rotate_pairs(jnp.asarray(each), angles)) for each in (query, key))
    scores = (query[0, 0] @ key[0, 0].T).reshape(4, 5, 4, 5)
    close(scores[1:, 1:, 1:, 1:], scores[:-1, :-1, :-1, :-1], 1e-5, "scores")
    assert np.ptp(scores[0, 0]) > 0.1
    close(np.linalg.norm(query, axis=-1), np.full((1, 1, 20), np.linalg.norm(query[0, 0, 0])))
    with pytest.raises(RotaryError, match="multiple of 4"):
        axial_angles((4, 5), 6)


@pytest.mark.proves(103, "blocks are visible, half of the patches exactly")
def test_what_is_visible_lies_together():
    config = load("uta")
    context = Context({}, {"image": (14, 14)}, {})
    mask = bind(config.mask)(Randomness.of(jax.random.key(0), 200), context)
    assert mask.visible.shape == mask.predict.shape == (200, 98)
    hidden = np.asarray(mask.hidden).reshape(-1, 14, 14)
    edges = np.mean(hidden[:, 1:] != hidden[:, :-1])
    assert edges < 0.25  # 0.5 where each patch is drawn by itself
    shown = 1 - hidden.mean(axis=0)
    assert shown[6:8, 6:8].mean() > 0.6 > 0.3 > shown[[0, 0, -1, -1], [0, -1, 0, -1]].mean()


def test_a_run_teaches(tmp_path):
    before = load("mae:tiny")
    before.model.variant = "4x48x2"
    save_config(tmp_path, before)
    config = load(f"uta:tiny,run={tmp_path}")
    assert config.teachers.whole.network.workdir == str(tmp_path)
    assert config.calls["align"]["values"] == 48


@pytest.mark.parametrize(
    ("name", "hidden", "values"),
    [("uta", 2048, 512), ("uta:variant=g/14,teacher=clip_l", 4096, 768)],
)
def test_the_published_network(name, hidden, values):
    config = load(name)
    assert config.teachers.whole.network.projected
    assert config.calls["align"]["values"] == values
    net = bind(config.model)(Spec((224, 224), 3, ZEROS, ONES))
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    assert shapes["encoder"]["blocks"]["mlp"]["gate"]["kernel"].shape[-1] == hidden
