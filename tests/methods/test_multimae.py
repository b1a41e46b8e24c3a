"""MultiMAE as config: the budget of visible tokens, swapped streams, parts of a batch."""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.data.pipeline import eval_batches, train_batches
from maskmim.masks.core import from_hidden
from maskmim.training.build import assemble, build_method, init_sharded, jitted_step
from maskmim.training.sharding import put
from maskmim.types import Context, Randomness, Variables
from tests.batches import random_batch
from tests.tolerances import REORDERED

pytestmark = pytest.mark.full

STEPS, KEPT = 500, 40


@pytest.mark.proves(60, "98 of 588 tokens are visible, however the streams share them")
def test_the_published_budget():
    config = load("multimae")
    spec, method = build_method(config)
    assert method.net.grids == dict.fromkeys(("image", "depth", "semseg"), (14, 14))
    context = Context({}, method.net.grids, {})
    mask = bind(config.mask)(Randomness.of(jax.random.key(0), 500), context)
    assert mask.visible.shape == (500, 98) and mask.predict.shape == (500, 490)
    shares = np.stack([np.asarray(~part).sum(axis=1) for part in np.split(mask.hidden, 3, axis=1)])
    np.testing.assert_array_equal(shares.sum(axis=0), 98)
    assert np.all(np.abs(shares.mean(axis=1) - 98 / 3) < 4) and shares.std(axis=1).min() > 15
    assert spec.arrays["semseg"].classes == 133 and spec.arrays["semseg"].size == (56, 56)


def test_the_published_recipe():
    config = load("multimae")
    assert (config.train.batch_size, config.optim.lr, config.optim.lr_per) == (2048, 1e-4, 256)
    assert (config.optim.b1, config.optim.b2, config.optim.weight_decay) == (0.9, 0.95, 0.05)
    assert config.optim.no_decay == () and config.schedule.warmup_epochs == 40
    assert config.train.epochs == 1600 and config.model.variant == "B"
    decoder = config.model.decoder_depth, config.model.decoder_width, config.model.decoder_heads
    assert decoder == (2, 256, 8) and config.model.class_width == 64
    assert config.model.float32_heads == ("semseg",) and config.model.standardised == ("depth",)
    assert all(term.per_example for term in config.objectives.values())
    assert len(config.objectives) == 4


@cache
def setting():
    """Return the tiny config with a rate that trains it, and what it assembles."""
    config = load("multimae:tiny")
    config.train.batch_size, config.train.epochs = 32, STEPS * 32 / 296
    config.optim.lr, config.optim.lr_per = 3e-3, 0
    config.schedule.warmup_epochs = config.train.epochs / 10
    return config, assemble(config, 296)


@cache
def trained():
    """Return the params before and after some steps on the embedded photographs."""
    config, parts = setting()
    state, frozen = init_sharded(parts, config.seed)
    before = jax.tree.map(np.asarray, state.params)
    step = jitted_step(config, parts)
    batches = train_batches(
        bind(config.data.train)(),
        spec=parts.spec,
        batch_size=config.train.batch_size,
        seed=0,
        augment=bind(config.data.augment),
    )
    kept = [arrays(batch) for batch in itertools.islice(batches, KEPT)]
    for number in range(STEPS):
        state, _ = step(state, frozen, kept[number % KEPT])
    return before, jax.tree.map(np.asarray, state.params)


def arrays(batch):
    """Return the streams of a batch on the mesh."""
    _, parts = setting()
    return {name: put(batch[name], parts.mesh) for name in parts.spec.arrays}


@cache
def photographs(count=128):
    config, parts = setting()
    batches = eval_batches(
        bind(config.data.train)(),
        spec=parts.spec,
        batch_size=count,
        transform=bind(config.evals.transform),
    )
    return arrays(next(batches))


def predictor(visible):
    """Return (params, batch) -> the predicted picture, from some streams alone, shown whole."""
    net = setting()[1].method.net
    shown = np.repeat([name in visible for name in net.grids], 16)
    hidden = jnp.broadcast_to(~jnp.asarray(shown), (128, shown.size))
    mask = from_hidden(hidden, count=int((~shown).sum()))

    def predict(params, batch):
        return net.predict(params, net.encode(params, net.inputs(batch), mask), mask)["image"]

    return jax.jit(predict)


def followed(predict, params, swapped):
    """Swap streams for those of the next photograph: how far the predicted picture goes along.

    Returns, by example, the share of the way from its own true picture to the next one's that the
    prediction goes: 0 where it stays, 1 where it arrives. Chance is around 0.
    """
    net, batch = setting()[1].method.net, photographs()
    others = {
        name: jnp.roll(array, -1, axis=0) if name in swapped else array
        for name, array in batch.items()
    }
    change = np.asarray(predict(params, others) - predict(params, batch))
    true = np.asarray(net.patchify(net.inputs(batch))["image"])
    way = np.roll(true, -1, axis=0) - true
    return (change * way).sum(axis=(1, 2)) / (way**2).sum(axis=(1, 2))


@pytest.mark.slow
@pytest.mark.proves(
    60, "with the picture hidden, its prediction follows the visible stream of another example"
)
def test_a_prediction_follows_the_swapped_stream():
    before, after = trained()
    for visible, swapped in (
        (("colours",), ("colours",)),
        (("grey",), ("grey",)),
        (("colours", "grey"), ("colours",)),
    ):
        predict = predictor(visible)
        share = followed(predict, after, swapped)
        fresh = followed(predict, before, swapped)
        assert share.mean() > 0.05 and (share > 0).mean() > 0.9, (visible, share.mean())
        assert abs(fresh.mean()) < 0.005, (visible, fresh.mean())


@pytest.mark.slow
@pytest.mark.proves(60, "a hidden picture is predicted better than by the mean of all pictures")
def test_a_hidden_stream_is_predicted_from_another():
    before, after = trained()
    net, batch = setting()[1].method.net, photographs()
    true = net.patchify(net.inputs(batch))["image"]
    by_mean = float(jnp.mean((true - true.mean(axis=0, keepdims=True)) ** 2))
    predict = predictor(("colours",))
    error = float(jnp.mean((predict(after, batch) - true) ** 2))
    assert error < 0.93 * by_mean < float(jnp.mean((predict(before, batch) - true) ** 2))


@pytest.mark.slow
def test_what_is_hidden_changes_nothing_when_swapped():
    _, after = trained()
    share = followed(predictor(("colours",)), after, ("image", "grey"))
    np.testing.assert_array_equal(share, 0.0)


def test_parts_of_a_batch_give_the_sums_of_the_whole():
    config, parts = setting()
    batch = random_batch(config, np.random.default_rng(0))
    params, extra = parts.method.init(jax.random.key(0))
    variables, randomness = Variables(params, extra, {}), Randomness.of(jax.random.key(1), 32)

    @jax.jit
    def terms(batch, slots):
        drawn = randomness._replace(slots=slots)
        return parts.method.loss(variables, batch, drawn, jnp.float32(0.5)).terms

    whole = terms(batch, randomness.slots)
    halves = [
        terms({name: a[part] for name, a in batch.items()}, randomness.slots[part])
        for part in (slice(0, 16), slice(16, 32))
    ]
    summed = jax.tree.map(lambda a, b: a + b, *halves)
    for name, mean in whole.items():
        np.testing.assert_allclose(summed[name].total, mean.total, rtol=REORDERED)
        np.testing.assert_allclose(summed[name].weight, mean.weight, rtol=REORDERED)
    assert set(whole) == {"image", "normalised", "grey", "colours"}
