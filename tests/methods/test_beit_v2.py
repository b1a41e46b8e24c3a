"""BEiT v2's pretraining: codes of the whole picture, predicted where they are hidden."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.masks.blocks import beit
from maskmim.masks.roles import in_place
from maskmim.methods.masked import masked
from maskmim.models.beit_v2 import beit_v2
from maskmim.objectives.classification import classify
from maskmim.reporting.streams import GREY
from maskmim.targets.codes import codes
from maskmim.teachers.random_codes import random_projection
from maskmim.training.build import build_method
from maskmim.training.train_step import initial_state, make_train_step
from maskmim.types import Context, Randomness, Spec, Variables
from tests.compiling import quick_jit
from tests.running import ROOT

pytestmark = pytest.mark.full

SPEC = Spec((24, 24), 3, (0.5,) * 3, (0.25,) * 3)
EXAMPLES, SIZE = 4, 12
RANDOMNESS = Randomness.of(jax.random.key(0), EXAMPLES)


@pytest.fixture(scope="module")
def method():
    small = {"variant": "2x16x2", "patch": (4, 4), "codes": SIZE, "layer": 1, "aggregating": 1}
    return masked(
        SPEC,
        model=partial(beit_v2, **small, drop_path=0.0),
        mask=partial(in_place, sampler=partial(beit, ratio=0.4, smallest=3)),
        objectives={
            head: partial(classify, head=head, target=codes) for head in ("codes", "aggregated")
        },
        teachers={"tokenizer": partial(random_projection, size=SIZE)},
    )


def variables_of(method):
    return Variables(*quick_jit(method.init)(jax.random.key(0)), method.freeze())


def pictures(seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (EXAMPLES, 3, 3, 3), np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.mark.proves(113, "codes are of the whole picture, and hidden pixels reach no prediction")
def test_hidden_pixels_change_targets_and_no_prediction(method):
    net = method.net
    variables = variables_of(method)
    teacher = random_projection(size=SIZE)

    @quick_jit
    def run(image):
        context = Context({"image": image}, net.grids, {})
        mask = method.apply["mask"](variables, {"image": image}, RANDOMNESS)["mask"]
        encoded = net.encode(variables.params, net.inputs({"image": image}), mask)
        true_codes = teacher.find(net, (), (), context, mask)["codes"]
        return mask, net.predict(variables.params, encoded, mask), true_codes

    image = pictures()
    mask, before, true = run(image)
    pixels = np.repeat(np.asarray(mask.hidden)[..., None], 48, axis=2).astype(np.float32)
    noise = np.random.default_rng(1).integers(0, 256, image.shape, np.uint8)
    changed = np.where(np.asarray(net.restore(pixels)) > 0, noise, image)
    _, after, other = run(changed)
    for head in ("codes", "aggregated"):
        np.testing.assert_array_equal(before[head], after[head])
    hidden = np.asarray(mask.hidden)
    np.testing.assert_array_equal(np.asarray(true)[~hidden], np.asarray(other)[~hidden])
    assert np.mean(np.asarray(true)[hidden] != np.asarray(other)[hidden]) > 0.5


def test_steps_teach_both_heads_and_every_parameter(method):
    optimiser = optax.adam(1e-2)
    state = quick_jit(partial(initial_state, method, optimiser))(jax.random.key(0))
    first = jax.tree.map(np.asarray, state.params)
    step = quick_jit(make_train_step(method, optimiser, seed=0, total_steps=80))
    batch, rows = {"image": pictures()}, []
    for _ in range(80):
        state, metrics = step(state, method.freeze(), batch)
        rows.append({name: float(value) for name, value in metrics.items()})
    start = rows[0]["loss/codes"]
    assert start == pytest.approx(np.log(SIZE), rel=0.05)
    late = {name: np.mean([row[name] for row in rows[-8:]]) for name in rows[0]}
    for head in ("codes", "aggregated"):
        assert late[f"loss/{head}"] < 0.7 * start, late
        assert late[f"{head}/accuracy"] > 2.5 / SIZE, late
    for old, new in zip(jax.tree.leaves(first), jax.tree.leaves(state.params), strict=True):
        assert not np.array_equal(old, new)


@pytest.mark.proves(113, "the loss is the sum of both cross-entropies on hidden tokens")
def test_the_loss_is_the_sum_of_both(method):
    variables, batch = variables_of(method), {"image": pictures()}

    @quick_jit
    def run(variables):
        mask = method.apply["mask"](variables, batch, RANDOMNESS)["mask"]
        losses = method.loss(variables, batch, RANDOMNESS, 0.0)
        return losses.terms, jnp.sum(mask.hidden)

    terms, hidden = run(variables)
    assert set(terms) == {"codes", "aggregated"}
    for term in terms.values():
        assert float(term.weight) == int(hidden) == EXAMPLES * 14


def test_the_sheet_shows_true_codes_beside_predicted_ones(method):
    variables, batch = variables_of(method), {"image": pictures()}

    @quick_jit
    def draw(variables):
        sampled = method.apply["mask"](variables, batch, RANDOMNESS)["mask"]
        return method.sheets["codes"](variables, batch, RANDOMNESS), sampled

    sheet, mask = draw(variables)
    hidden = np.asarray(mask.hidden).reshape(EXAMPLES, 6, 6)
    small = {name: np.asarray(shown)[:, ::4, ::4] for name, shown in sheet.items()}
    assert (small["masked codes"][hidden] == GREY).all()
    for name in ("masked codes", "predicted codes"):
        np.testing.assert_array_equal(small[name][~hidden], small["codes"][~hidden])


@pytest.mark.proves(113, "75 of 196 tokens are hidden in blocks; the recipe is PRETRAINING.md's")
def test_the_published_recipe(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load("configs/beit_v2.py")
    optim, schedule, model = config.optim, config.schedule, config.model
    assert (config.train.batch_size, config.train.epochs) == (2048, 1600)
    assert (optim.lr, optim.lr_per, optim.clip_norm) == (1.5e-3, 0, 3.0)
    assert (optim.b1, optim.b2, optim.weight_decay) == (0.9, 0.999, 0.05)
    assert (schedule.warmup_epochs, schedule.final * optim.lr) == (10, pytest.approx(1e-5))
    assert (model.codes, model.layer, model.aggregating) == (8192, 9, 2)
    assert (model.drop_path, model.layer_scale) == (0.1, 0.1)
    assert config.data.augment.jitter == (0.4, 0.4, 0.4)
    tokens = ("class_token", "mask_token", "relative_bias")
    spared = {name for name in tokens if any(re.search(p, f"e/{name}") for p in optim.no_decay)}
    assert spared == {"class_token"}
    _, method = build_method(config)
    context = Context({}, method.net.grids, {})
    mask = jax.eval_shape(lambda key: bind(config.mask)(Randomness.of(key, 2), context), KEY)
    assert (mask.visible.shape[1], mask.predict.shape[1]) == (196, 75)
    large = load("configs/beit_v2.py:variant=L/16,epochs=300")
    assert (large.model.layer, large.model.layer_scale, large.model.drop_path) == (21, 1e-5, 0)
    assert large.optim.b2 == 0.98


KEY = jax.random.key(0)
