"""DMAE against the official model, and what its teacher sees and costs."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.checkpoints.workdir import save_config
from maskmim.config.load import load
from maskmim.interop.layout import arrays_of, params_of
from maskmim.losses import squared_error, unit_absolute_error
from maskmim.masks.core import from_scores
from maskmim.methods.masked import masked
from maskmim.models.frozen_vit import random_vit, truncate_blocks
from maskmim.models.masked_vit import vit_mae
from maskmim.models.projectors import linear
from maskmim.objectives import match, match_visible
from maskmim.targets import features, pixels
from maskmim.teachers.frozen import seen_features
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Mask, Randomness, Spec, Variables
from tests.comparing import close
from tests.golden.dmae import case
from tests.golden.official_weights import params_by_name

pytestmark = pytest.mark.full

ZEROS, ONES = (0.0,) * 3, (1.0,) * 3
PATCH = (case.PATCH, case.PATCH)
RANDOMNESS = Randomness.of(jax.random.key(0), case.EXAMPLES)
TERMS = "pixels", "align"


def variant(size: tuple[int, int, int]) -> str:
    return "x".join(map(str, size))


def official_mask(randomness, context) -> Mask:
    """The official masks: the smallest noise is visible."""
    return from_scores(-jnp.asarray(case.noise()), ratio=case.RATIO)


@cache
def teacher():
    """Return the case's teacher, up to the block that is aligned."""
    network = partial(
        random_vit,
        variant=variant(case.TEACHER),
        patch=PATCH,
        layer=case.BLOCKS[1],
        mean=ZEROS,
        std=ONES,
    )
    return seen_features(network=network, class_token=True)


@cache
def method():
    """DMAE at the case's size, composed as the config does."""
    return masked(
        Spec((case.IMAGE, case.IMAGE), 3, ZEROS, ONES, dtype="float32"),
        model=partial(
            vit_mae,
            variant=variant(case.STUDENT),
            patch=PATCH,
            decoder_depth=case.DECODER[0],
            decoder_width=case.DECODER[1],
            decoder_heads=case.DECODER[2],
        ),
        mask=official_mask,
        objectives={
            "pixels": partial(match, head="pixels", target=pixels.patches, loss=squared_error),
            "align": partial(
                match_visible,
                call="align",
                target=features.seen_features,
                class_target=features.seen_class_feature,
                loss=unit_absolute_error,
                layer=case.BLOCKS[0],
            ),
        },
        teachers={"larger": teacher},
        calls={"align": partial(linear, values=case.TEACHER[1])},
    )


@cache
def official_params():
    """Return the official weights as our params, the teacher's, and {official name: shape}."""
    shapes = jax.eval_shape(method().net.init, jax.random.key(0))
    params, theirs = params_by_name(case.layout(), shapes, case.weight)
    size = variant(case.TEACHER)
    whole = random_vit(variant=size, patch=PATCH, mean=ZEROS, std=ONES)
    of_teacher = {"encoder": jax.eval_shape(whole.load)}
    entries = case.teacher_layout()
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape), of_teacher)
    arrays = arrays_of(entries, blank)
    weights = {name: case.weight(name, a.shape, of="teacher") for name, a in arrays.items()}
    named = {path: leaf.shape for path, leaf in named_leaves(of_teacher)}
    found = params_of(entries, named, weights)["encoder"]
    return params, {"larger": truncate_blocks(found, case.BLOCKS[1])}, theirs


def batch():
    """The case's pictures, channels last."""
    return {"image": case.pictures().transpose(0, 2, 3, 1)}


@cache
def program():
    """Return a function: (params, batch) -> hints, predictions, losses, gradients of each."""
    net, frozen = method().net, official_params()[1]

    @jax.jit
    def run(params, batch):
        mask = official_mask(None, None)
        context = Context(batch, net.grids, {})
        hints = teacher().find(net, (), frozen["larger"], context, mask)
        outputs = net.predict(params, net.encode(params, net.inputs(batch), mask), mask)

        def terms(params):
            variables = Variables(params, {"larger": ()}, frozen)
            losses = method().loss(variables, batch, RANDOMNESS, 0.0)
            return jnp.stack([losses.terms[name].value for name in TERMS])

        values, pull = jax.vjp(terms, params)
        each = jax.vmap(lambda weights: pull(weights)[0])(jnp.eye(len(TERMS)))
        return hints, outputs["pixels"], values, each

    return run


@cache
def outcome():
    """Return what the program gives for the official weights and pictures."""
    return jax.tree.map(np.asarray, program()(official_params()[0], batch()))


@pytest.mark.proves(
    69, "the teacher's features, predictions, both losses and all gradients equal the official ones"
)
def test_equals_the_official_model():
    golden = np.load(case.GOLDEN)
    hints, predictions, values, each = outcome()
    close(hints["seen_class_feature"], golden["features"][:, 0], name="class token")
    close(hints["seen_features"], golden["features"][:, 1:], name="visible tokens")
    rows = np.arange(case.EXAMPLES)[:, None]
    hidden = np.asarray(official_mask(None, None).predict)
    close(predictions, golden["predictions"][rows, hidden], name="predictions")
    for name, value in zip(TERMS, values, strict=True):
        close(value, golden[name], name=name)
    theirs = official_params()[2]
    ends = np.cumsum([np.prod(shape) for shape in theirs.values()])
    ours = arrays_of(case.layout(), jax.tree.map(lambda leaf: leaf.sum(axis=0), each))
    expected = np.split(golden["gradients"], ends[:-1])
    for (name, shape), gradient in zip(theirs.items(), expected, strict=True):
        close(ours[name], gradient.reshape(shape), name=name)
        assert np.any(ours[name]), name


@pytest.mark.proves(69, "the teacher sees what the student sees, and no pixel more")
def test_hidden_pixels_reach_no_feature():
    mask = official_mask(None, None)
    changed = batch()["image"].copy()
    side = case.IMAGE // case.PATCH
    hidden = np.asarray(mask.hidden).reshape(-1, side, side)
    changed[hidden.repeat(case.PATCH, axis=1).repeat(case.PATCH, axis=2)] += 1
    hints, _, values, _ = outcome()
    others, _, moved, _ = program()(official_params()[0], {"image": changed})
    for name, feature in hints.items():
        np.testing.assert_array_equal(others[name], feature)
    assert moved[1] == values[1] and moved[0] > values[0]


@pytest.mark.proves(69, "features teach the aligned block and those before it, pixels all but them")
def test_each_loss_reaches_its_part():
    for path, leaf in named_leaves(outcome()[3]):
        of_pixels, of_align = np.asarray(leaf)
        if path.startswith("align/"):
            assert np.any(of_align) and not np.any(of_pixels), path
        elif "/stack/" in path and path.startswith("encoder"):
            taught = np.any(of_align.reshape(case.STUDENT[0], -1), axis=1)
            np.testing.assert_array_equal(taught, [True, True, False], err_msg=path)
            assert np.any(of_pixels), path
        else:
            above = path.startswith(("decoder/", "encoder/norm/"))
            assert np.any(of_pixels) and np.any(of_align) != above, path


@pytest.mark.proves(69, "the teacher computes the blocks up to the aligned one, on visible tokens")
def test_the_teacher_is_cheap():
    of_teacher, length = teacher(), (case.IMAGE // case.PATCH) ** 2
    depths = {len(leaf) for leaf in jax.tree.leaves(of_teacher.freeze()["stack"])}
    assert depths == {case.BLOCKS[1]}

    def flops(mask):
        def find(frozen, batch):
            context = Context(batch, {"image": (4, 4)}, {})
            return of_teacher.find(None, (), frozen, context, mask)

        return jax.jit(find).lower(of_teacher.freeze(), batch()).cost_analysis()["flops"]

    few = official_mask(None, None)
    assert few.visible.shape[1] == length // 4
    assert flops(few) < 0.35 * flops(None)


def test_the_published_recipe():
    config = load("dmae")
    network = config.teachers.larger.network
    assert (network.variant, network.layer, config.objectives.align.layer) == ("L", 18, 9)
    assert config.calls["align"]["values"] == 1024
    assert (config.train.epochs, config.train.batch_size, config.mask.ratio) == (100, 4096, 0.75)
    assert (config.optim.lr, config.optim.b2, config.schedule.warmup_epochs) == (1.5e-4, 0.95, 20)
    assert load("dmae:ratio=0.95").mask.ratio == 0.95


def test_a_run_teaches(tmp_path):
    before = load("mae:tiny")
    before.model.variant = "4x48x2"
    save_config(tmp_path, before)
    config = load(f"dmae:tiny,teacher={tmp_path}")
    network = config.teachers.larger.network
    assert (network.workdir, network.layer) == (str(tmp_path), 3)
    assert config.calls["align"]["values"] == 48
