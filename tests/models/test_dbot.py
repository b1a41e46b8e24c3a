"""dBOT against the official model: predictions, targets, loss and gradients."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.checkpoints.workdir import save_config
from maskmim.config.load import load
from maskmim.interop.layout import arrays_of, check_covered, params_of
from maskmim.losses.regression import smooth_l1
from maskmim.masks.core import from_scores
from maskmim.models.dbot import vit_dbot
from maskmim.objectives.matching import match_with_class
from maskmim.targets.features import standardised_class, standardised_features
from maskmim.teachers.features import block_tokens_and_class
from maskmim.training.build import build_method
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Mean, Randomness, Spec, Variables, View
from tests.comparing import close
from tests.compiling import quick_jit
from tests.golden.dbot import case
from tests.tiny import pictures

pytestmark = pytest.mark.full


def official_net():
    """The case's network."""
    depth, width, heads = case.ENCODER
    return vit_dbot(
        Spec((case.IMAGE, case.IMAGE), 3, (0.0,) * 3, (1.0,) * 3),
        variant=f"{depth}x{width}x{heads}",
        patch=(case.PATCH, case.PATCH),
        decoder_depth=case.DECODER[0],
        decoder_width=case.DECODER[1],
        decoder_heads=case.DECODER[2],
        heads={"features": width},
    )


def official_params(net, entries, of):
    """The official weights of the student or the teacher as our params."""
    ours = jax.eval_shape(net.init, jax.random.key(0))
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape), ours)
    theirs = {name: a.shape for name, a in arrays_of(entries, blank).items()}
    weights = {name: case.weight(name, shape, of=of) for name, shape in theirs.items()}
    paths = {entry.path for entry in entries}
    shapes = {path: leaf.shape for path, leaf in named_leaves(ours) if path in paths}
    return params_of(entries, shapes, weights), theirs


@cache
def outcome():
    """Return of each depth of the teacher the loss, what was compared, and the gradients."""
    net = official_net()
    params, theirs = official_params(net, case.layout(), "student")
    teacher, _ = official_params(net, case.encoder(), "teacher")
    shapes = {path: leaf.shape for path, leaf in named_leaves(params)}
    check_covered(case.layout(), shapes, "the official layout")
    objective = match_with_class(
        head="features",
        class_head="class_features",
        target=standardised_features,
        class_target=standardised_class,
        loss=partial(smooth_l1, beta=2.0),
    )
    batch = {"image": case.pictures().transpose(0, 2, 3, 1)}
    mask = from_scores(-jnp.asarray(case.noise()), ratio=case.RATIO)

    def run(params, depth):
        hints = block_tokens_and_class(net, teacher, Context(batch, net.grids, {}), layer=depth)
        inputs = net.inputs(batch)
        encoded = net.encode(params, inputs, mask)
        outputs = net.predict(params, encoded, mask)
        context = Context(batch, net.grids, hints)
        view = View(net, context, inputs, mask, encoded, outputs, {})
        per_token, weight, _, _ = objective.find(view)
        return Mean(jnp.sum(per_token * weight), jnp.sum(weight)).value, (outputs, hints)

    back = jax.value_and_grad(run, has_aux=True)
    found = jax.jit(lambda params: {depth: back(params, depth) for depth in case.DEPTHS})(params)
    return found, mask, theirs


@pytest.mark.proves(
    10, "teachers' features, predictions, both losses and all gradients equal the official model's"
)
def test_equals_the_official_model():
    golden = np.load(case.GOLDEN)
    found, mask, theirs = outcome()
    rows = np.arange(case.EXAMPLES)[:, None]
    for depth in case.DEPTHS:
        (loss, (outputs, hints)), _ = found[depth]
        close(loss, golden[f"loss_{depth}"], name=f"loss, teacher of {depth} blocks")
        features = golden[f"features_{depth}"]
        close(hints["class_feature"], features[:, 0], name=depth)
        close(hints["features"], features[:, 1:], name=depth)
        close(outputs["class_features"], golden["predictions"][:, :1])
        close(outputs["features"], golden["predictions"][rows, 1 + np.asarray(mask.predict)])
    ends = np.cumsum([np.prod(shape) for shape in theirs.values()])
    expected = np.split(golden["gradients"], ends[:-1])
    ours = arrays_of(case.layout(), found[case.DEPTHS[0]][1])
    for (name, shape), gradient in zip(theirs.items(), expected, strict=True):
        close(ours[name], gradient.reshape(shape), name=name)
        assert np.any(ours[name]), name


@pytest.fixture(scope="module")
def tiny():
    """Return the method of the first stage, its variables, a batch and its random numbers."""
    _, method = build_method(load("dbot:tiny"))
    variables = jax.jit(method.variables)(jax.random.key(0))
    batch = {"image": np.tile(pictures(4), (1, 1, 2, 1))[:, :, :32]}
    return method, variables, batch, Randomness.of(jax.random.key(1), 4)


@pytest.mark.proves(10, "the first teacher is a copy of the student's random encoder, and stays it")
def test_the_teacher_is_the_student_before_training(tiny):
    method, variables, _, _ = tiny
    jax.tree.map(
        np.testing.assert_array_equal,
        variables.extra["fixed"]["encoder"],
        variables.params["encoder"],
    )
    moved = jax.tree.map(lambda leaf: leaf + 1, variables.params)
    later = method.refresh(Variables(moved, variables.extra, ()), {"features": ()}, 0.5)
    jax.tree.map(np.testing.assert_array_equal, later, variables.extra)


def test_gradients_reach_the_student_alone(tiny):
    method, variables, batch, randomness = tiny

    def loss(params, extra):
        losses = method.loss(Variables(params, extra, variables.frozen), batch, randomness, 0.0)
        return losses.terms["features"].value

    of_student, of_teacher = quick_jit(jax.grad(loss, argnums=(0, 1)))(
        variables.params, variables.extra
    )
    for path, leaf in named_leaves(of_student):
        assert np.any(leaf), path
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(of_teacher))


def test_encoder_and_decoder_drop_paths_in_training_alone(tiny):
    method, variables, batch, randomness = tiny
    net, params = method.net, variables.params
    mask = from_scores(jax.random.uniform(jax.random.key(0), (4, 16)), ratio=0.75)

    @quick_jit
    def outputs(params):
        inputs = net.inputs(batch)
        kept = net.encode(params, inputs, mask)
        dropped = net.encode(params, inputs, mask, randomness=randomness)
        whole, again = (net.predict(params, kept, mask)["features"] for _ in range(2))
        return kept, dropped, whole, again, net.predict(params, kept, mask, randomness=randomness)

    kept, dropped, whole, again, parts = outputs(params)
    assert np.any(kept.tokens != dropped.tokens) and np.any(whole != parts["features"])
    np.testing.assert_array_equal(whole, again)


@pytest.mark.parametrize(
    ("variant", "drop_path", "clip_norm", "layer", "width"),
    [("B/16", 0.2, 3.0, 12, 768), ("L/16", 0.2, np.inf, 0, 1024), ("H/14", 0.3, np.inf, 0, 1280)],
)
def test_the_published_recipes(variant, drop_path, clip_norm, layer, width):
    config = load(f"dbot:variant={variant}")
    assert (config.model.drop_path, config.optim.clip_norm) == (drop_path, clip_norm)
    assert (config.teachers.fixed.find.layer, config.model.heads.features) == (layer, width)
    assert (config.train.epochs, config.train.batch_size) == (800, 4096)
    assert (config.optim.lr, config.optim.b2, config.schedule.warmup_epochs) == (1.5e-4, 0.95, 40)


def test_a_later_stage_learns_from_the_last_block_of_the_run_before(tmp_path):
    before = load("dbot:tiny")
    before.model.variant = "3x48x2"
    save_config(tmp_path, before)
    config = load(f"dbot:tiny,teacher={tmp_path}")
    teacher = config.teachers.fixed
    assert teacher.brick.endswith("frozen.features") and teacher.class_token
    assert (teacher.network.workdir, teacher.network.layer) == (str(tmp_path), 3)
    assert not teacher.normalise and config.model.heads.features == 48
