"""MaskFeat: HOG of hidden patches is predicted, hidden pixels are unseen, targets do not learn."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.losses.regression import squared_error
from maskmim.masks.blocks import beit
from maskmim.masks.roles import in_place
from maskmim.methods.masked import masked
from maskmim.models.in_place import vit_in_place
from maskmim.objectives.matching import match
from maskmim.targets.hog import cells_to_patches, hog, hog_patches
from maskmim.training.build import build_method
from maskmim.training.train_step import make_train_step
from maskmim.types import Context, Randomness, Spec, State, Variables
from tests.running import ROOT
from tests.tolerances import PARITY

SPEC = Spec((64, 64), 3, (0.5,) * 3, (0.25,) * 3)
EXAMPLES = 4


@pytest.fixture(scope="module")
def method():
    return masked(
        SPEC,
        model=partial(vit_in_place, variant="2x16x2", patch=(16, 16), heads={"hog": 108}),
        mask=partial(in_place, sampler=partial(beit, ratio=0.4, smallest=3)),
        objectives={"hog": partial(match, head="hog", target=hog_patches, loss=squared_error)},
        teachers={},
    )


def pictures():
    """Stripes of one direction each, which visible patches tell of hidden ones."""
    down, right = np.mgrid[:64, :64] / 5.0
    turns = np.deg2rad([10, 55, 100, 145])[:, None, None]
    waves = 128 + 100 * np.sin(right * np.sin(turns) + down * np.cos(turns))
    return np.repeat(waves[..., None], 3, axis=-1).astype(np.uint8)


def params_of(net):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    return jax.tree.map(lambda x: rng.normal(0, 0.2, x.shape).astype(np.float32), shapes)


@pytest.mark.proves(31, "the loss is the mean squared error of hidden patches and no others")
def test_the_loss_is_on_hidden_patches_alone_and_reaches_every_parameter(method):
    """Against sums over the whole picture; hidden pixels change the target and no prediction."""
    net, randomness = method.net, Randomness.of(jax.random.key(0), EXAMPLES)
    noise = np.random.default_rng(1).integers(0, 256, (EXAMPLES, 64, 64, 3), np.uint8)

    @jax.jit
    def run(params, image):
        batch, variables = {"image": image}, Variables(params, {}, {})
        mask = method.apply["mask"](variables, batch, randomness)["mask"]
        encoded = net.encode(params, net.inputs(batch), mask)
        prediction = net.predict(params, encoded, mask._replace(predict=mask.visible))["hog"]
        target = cells_to_patches(hog(net.inputs(batch)), (4, 4))

        def loss(params):
            losses = method.loss(variables._replace(params=params), batch, randomness, 0.0)
            return losses.terms["hog"].value

        return prediction, target, mask.hidden, *jax.value_and_grad(loss)(params)

    params = params_of(net)
    prediction, target, hidden, loss, gradient = run(params, pictures())
    assert prediction.shape == target.shape == (EXAMPLES, 16, 108)
    np.testing.assert_array_equal(np.sum(hidden, axis=1), 6)
    expected = np.mean((prediction - target) ** 2, axis=-1)[np.asarray(hidden)].mean()
    np.testing.assert_allclose(loss, expected, rtol=PARITY)
    for path, leaf in jax.tree.leaves_with_path(gradient):
        assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)

    shown = np.asarray(net.restore(jnp.repeat(hidden[..., None], 768, axis=2)))
    unseen = run(params, np.where(shown, noise, pictures()))
    np.testing.assert_array_equal(unseen[0], prediction)
    assert np.abs(unseen[3] - loss) > 1e-4


def test_steps_reduce_the_loss(method):
    optimiser = optax.adam(1e-2)
    params = params_of(method.net)
    state = State(jnp.int32(0), params, {}, optimiser.init(params), jnp.int32(0))
    step = jax.jit(make_train_step(method, optimiser, seed=0, total_steps=40))
    losses = []
    for _ in range(40):
        state, metrics = step(state, {}, {"image": pictures()})
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.7 * losses[0], losses


@pytest.mark.proves(31, "78 of 196 patches are hidden and 108 values predicted of each")
def test_the_published_recipe(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load("configs/maskfeat.py")
    optim, schedule = config.optim, config.schedule
    assert (config.train.batch_size, optim.lr, optim.lr_per) == (2048, 2e-4, 256)
    assert (optim.b1, optim.b2, optim.weight_decay, optim.clip_norm) == (0.9, 0.999, 0.05, 0.02)
    assert (config.train.epochs, schedule.warmup_epochs, schedule.final) == (300, 30, 0.005)
    assert tuple(config.data.augment.scale) == (0.5, 1.0)
    assert (config.mask.sampler.ratio, config.mask.sampler.smallest) == (0.4, 15)
    _, method = build_method(config)
    assert method.net.grids == {"image": (14, 14)}

    def shapes(key):
        variables, batch = method.variables(key), {"image": jnp.zeros((2, 224, 224, 3), jnp.uint8)}
        mask = bind(config.mask)(Randomness.of(key, 2), Context(batch, method.net.grids, {}))
        encoded = method.net.encode(variables.params, method.net.inputs(batch), mask)
        return encoded.tokens, method.net.predict(variables.params, encoded, mask)["hog"]

    tokens, values = jax.eval_shape(shapes, jax.random.key(0))
    assert tokens.shape == (2, 196, 768) and values.shape == (2, 78, 108)
