"""SatMAE as config: the published numbers, and what a hidden group is predicted from."""

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
from maskmim.types import Context, Randomness

STEPS, KEPT, COUNT = 600, 40, 128


@pytest.mark.full
@pytest.mark.proves(86, "75 % of the tokens of all groups are hidden, the groups independently")
def test_the_published_recipe():
    config = load("satmae")
    spec, method = build_method(config)
    assert method.net.grids == dict.fromkeys(("image", "red_edge", "swir"), (12, 12))
    assert [each.channels for each in spec.arrays.values()] == [4, 4, 2]
    assert config.input.channel_names == ("B2", "B3", "B4", "B8")
    assert (config.train.batch_size, config.train.epochs) == (4096, 200)
    assert (config.optim.lr, config.optim.lr_per, config.optim.b2) == (1e-4, 256, 0.95)
    assert config.schedule.warmup_epochs == 20 and config.model.variant == "L"
    context = Context({}, method.net.grids, {})
    mask = bind(config.mask)(Randomness.of(jax.random.key(0), 200), context)
    assert mask.visible.shape == (200, 108)
    shown = [np.asarray(~part) for part in np.split(mask.hidden, 3, axis=1)]
    assert len({tuple(part.sum(axis=1)) for part in shown}) == 3
    together = np.mean(shown[0] & shown[1])
    assert abs(together - 1 / 16) < 0.005
    same = bind(load("satmae:same_places").mask)(Randomness.of(jax.random.key(0), 4), context)
    first, *others = np.split(np.asarray(same.hidden), 3, axis=1)
    assert all((first == other).all() for other in others)


@cache
def setting():
    """Return the tiny config, whose heads predict their own groups, and what it assembles."""
    config = load("satmae:tiny,heads=groups")
    config.train.batch_size, config.train.epochs = 32, STEPS * 32 / 296
    config.optim.lr, config.optim.lr_per = 3e-3, 0
    config.schedule.warmup_epochs = config.train.epochs / 10
    return config, assemble(config, 296)


def arrays(batch):
    _, parts = setting()
    return {name: put(batch[name], parts.mesh) for name in parts.spec.arrays}


def batches(reader, **options):
    config, parts = setting()
    records, decode = bind(config.data.train)(), bind(config.data.decode)
    return reader(records, spec=parts.spec, decode=decode, **options)


@pytest.mark.slow
@pytest.mark.proves(86, "a hidden group is predicted from the visible one of the same picture")
def test_a_hidden_group_is_predicted_from_the_other():
    config, parts = setting()
    state, frozen = init_sharded(parts, config.seed)
    step = jitted_step(config, parts)
    augment = bind(config.data.augment)
    read = batches(train_batches, batch_size=32, seed=0, augment=augment)
    kept = [arrays(batch) for batch in itertools.islice(read, KEPT)]
    for number in range(STEPS):
        state, _ = step(state, frozen, kept[number % KEPT])
    transform = bind(config.evals.transform)
    batch = arrays(next(batches(eval_batches, batch_size=COUNT, transform=transform)))
    net, length = parts.method.net, 16
    hidden = np.repeat([name == "green" for name in net.grids], length)
    mask = from_hidden(jnp.broadcast_to(hidden, (COUNT, 2 * length)), count=length)

    @jax.jit
    def error(params, batch, true):
        found = net.predict(params, net.encode(params, net.inputs(batch), mask), mask)["green"]
        return jnp.mean((found - net.patchify(net.inputs(true))["green"]) ** 2, axis=(1, 2))

    of_another = batch | {"image": jnp.roll(batch["image"], 1, axis=0)}
    own, other = (np.asarray(error(state.params, shown, batch)) for shown in (batch, of_another))
    assert own.mean() < 0.9 * other.mean(), (own.mean(), other.mean())
    assert np.mean(own < other) > 0.7
