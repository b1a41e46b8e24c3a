"""SimMIM: whole units are hidden, their pixels reach no output, and they alone are in the loss."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.losses.regression import absolute_error
from maskmim.masks import units
from maskmim.masks.roles import in_place
from maskmim.methods.masked import masked
from maskmim.models.in_place import vit_in_place
from maskmim.models.relative_vit import relative_vit_in_place
from maskmim.models.swin import swin_in_place
from maskmim.models.vit import ModelError
from maskmim.objectives.matching import match
from maskmim.targets.pixels import patches
from maskmim.training.build import build_method
from maskmim.training.train_step import make_train_step
from maskmim.types import Context, Randomness, Spec, State, Variables
from tests.compiling import quick_jit
from tests.running import ROOT
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

SPEC = Spec((24, 24), 3, (0.5,) * 3, (0.25,) * 3)
EXAMPLES = 4
VIT = {"variant": "2x16x2", "patch": (4, 4)}
NETS = {
    "vit": (partial(vit_in_place, **VIT), 2),
    "relative vit": (partial(relative_vit_in_place, **VIT, drop_path=0.0), 2),
    "swin": (partial(swin_in_place, variant="8x2-2x1-2", window=3), 1),
}


def method_of(name, sampler=None, model=None):
    known, unit = NETS[name]
    model = model or known
    sampler = sampler or partial(in_place, sampler=partial(units.random, ratio=0.6, unit=unit))
    pixels = partial(match, head="pixels", target=patches, loss=absolute_error)
    return masked(SPEC, model=model, mask=sampler, objectives={"pixels": pixels}, teachers={})


def pictures(seed=0):
    """Blocks of one colour, which are easy to learn."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (EXAMPLES, 3, 3, 3), np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def params_of(net):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    return jax.tree.map(lambda x: rng.normal(0, 0.2, x.shape).astype(np.float32), shapes)


def random_mask(name):
    _, unit = NETS[name]
    rng = np.random.default_rng(1)
    order = rng.permuted(np.tile(np.arange(9), (EXAMPLES, 1)), axis=1)
    grid = (3 * unit, 3 * unit)
    mask = units.units_from_order(order, grid=grid, ratio=0.6, unit=unit)
    return in_place(None, None, sampler=lambda *_: mask)


def pixels_of(net, hidden):
    """bool[B, N] tokens as the pixels that they are made of."""
    values = np.prod(SPEC.size) * 3 // hidden.shape[1]
    return np.asarray(net.restore(jnp.repeat(hidden[..., None], values, axis=2)))


@pytest.mark.proves(107, "pixels of hidden units reach no feature and no prediction")
@pytest.mark.parametrize("name", NETS)
def test_hidden_pixels_are_unseen(name):
    net = NETS[name][0](SPEC)
    mask = random_mask(name)
    predict_visible = mask._replace(predict=mask.visible)

    @quick_jit
    def run(params, image):
        encoded = net.encode(params, net.inputs({"image": image}), mask)
        return encoded.tokens, net.predict(params, encoded, predict_visible)["pixels"]

    params, image, hidden = params_of(net), pictures(), pixels_of(net, mask.hidden)
    noise = np.random.default_rng(1).integers(0, 256, image.shape, np.uint8)
    features, prediction = run(params, image)
    unseen = run(params, np.where(hidden, noise, image))
    np.testing.assert_array_equal(unseen[0], features)
    np.testing.assert_array_equal(unseen[1], prediction)
    seen = run(params, np.where(hidden, image, noise))
    assert (np.abs(seen[0] - features).max(axis=-1) > 1e-4).all()


@pytest.mark.proves(107, "the loss is the mean absolute error of hidden pixels and no others")
def test_the_loss_is_on_hidden_pixels_alone():
    """The loss on whole pictures as the authors write it, with a mask of pixels."""
    mask = random_mask("vit")
    method = method_of("vit", lambda randomness, context: mask)
    net, params, batch = method.net, params_of(method.net), {"image": pictures()}
    randomness = Randomness.of(jax.random.key(0), EXAMPLES)

    @quick_jit
    def run(params):
        inputs = net.inputs(batch)
        encoded = net.encode(params, inputs, mask)
        predict_visible = mask._replace(predict=mask.visible)
        prediction = net.restore(net.predict(params, encoded, predict_visible)["pixels"])
        losses = method.loss(Variables(params, {}, {}), batch, randomness, 0.0)
        return prediction, inputs, losses.terms["pixels"].value

    prediction, inputs, loss = run(params)
    hidden = pixels_of(net, mask.hidden)
    expected = (np.abs(prediction - inputs) * hidden).sum() / hidden[..., 0].sum() / 3
    np.testing.assert_allclose(loss, expected, rtol=PARITY)


def test_steps_reduce_the_loss():
    """Pictures of one colour each, which hidden pixels must be told from the visible ones."""
    method = method_of("swin", model=partial(swin_in_place, variant="8x2x1", window=3))
    optimiser = optax.adam(1e-2)
    params = params_of(method.net)
    state = State(jnp.int32(0), params, {}, optimiser.init(params), jnp.int32(0))
    step = quick_jit(make_train_step(method, optimiser, seed=0, total_steps=60))
    colours = np.random.default_rng(0).integers(0, 256, (EXAMPLES, 1, 1, 3), np.uint8)
    batch = {"image": np.tile(colours, (1, *SPEC.size, 1))}
    losses = []
    for _ in range(60):
        state, metrics = step(state, {}, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.5 * losses[0], losses


@pytest.mark.proves(107, "30 of 49 units of 32 pixels are hidden at 224 px, 22 of 36 at 192 px")
@pytest.mark.parametrize(
    ("argument", "grid", "side", "count"),
    [
        ("", (14, 14), 7, 30),
        (":model=swin", (6, 6), 6, 22),
        (":model=swin,variant=L", (6, 6), 6, 22),
    ],
)
def test_the_published_masks_hide_whole_units(argument, grid, side, count, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load(f"configs/simmim.py{argument}")
    _, method = build_method(config)
    assert method.net.grids == {"image": grid}
    context = Context({}, method.net.grids, {})
    mask = quick_jit(lambda key: bind(config.mask)(Randomness.of(key, 8), context))(
        jax.random.key(0)
    )
    hidden = np.asarray(mask.hidden).reshape(8, *grid)
    times = grid[0] // side
    coarse = hidden[:, ::times, ::times]
    np.testing.assert_array_equal(coarse.sum(axis=(1, 2)), count)
    np.testing.assert_array_equal(hidden, coarse.repeat(times, axis=1).repeat(times, axis=2))
    assert mask.visible.shape[1] == grid[0] * grid[1]
    assert mask.predict.shape[1] == count * times**2
    assert len(np.unique(coarse.reshape(8, -1), axis=0)) == 8


@pytest.mark.parametrize("model", ["vit", "swin"])
def test_the_published_recipe(model, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load(f"configs/simmim.py:model={model}")
    optim, schedule = config.optim, config.schedule
    assert (config.train.batch_size, optim.lr, optim.lr_per) == (2048, 1e-4, 512)
    assert (optim.b1, optim.b2, optim.weight_decay, optim.clip_norm) == (0.9, 0.999, 0.05, 5.0)
    assert (config.train.epochs, schedule.warmup_epochs, schedule.drops) == (800, 10, (700,))
    assert config.model.drop_path == {"vit": 0.1, "swin": 0.0}[model]
    assert tuple(config.data.augment.scale) == (0.67, 1.0)
    tokens = ("class_token", "mask_token", "relative_bias")
    spared = {name for name in tokens if any(re.search(p, f"e/{name}") for p in optim.no_decay)}
    assert spared == {"vit": {"class_token"}, "swin": {"mask_token", "relative_bias"}}[model]
    objective = config.objectives.pixels
    assert objective.target.brick == "maskmim.targets.pixels.patches"
    assert objective.loss.brick == "maskmim.losses.absolute_error"


def test_tokens_that_do_not_enter_are_an_error():
    method = method_of("vit", partial(units.random, ratio=0.6, unit=2))
    variables = jax.eval_shape(method.variables, jax.random.key(0))
    randomness = Randomness.of(jax.random.key(0), EXAMPLES)
    with pytest.raises(ModelError, match=r"12 of 36 tokens enter.*roles\.in_place"):
        jax.eval_shape(lambda v: method.loss(v, {"image": pictures()}, randomness, 0.0), variables)


def test_an_unknown_encoder_is_an_error():
    with pytest.raises(ConfigError, match="use vit or swin"):
        load(f"{ROOT}/configs/simmim.py:model=cnn")
