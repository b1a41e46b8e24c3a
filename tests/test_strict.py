"""Programs trace where jax promotes nothing by itself, and where parameters are numpy arrays.

Nothing is compiled: `jax.eval_shape` alone. The steps of all tiny configs, their losses and what
evaluators call are traced so in tests/test_catalogue.py.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.planning.cost import batch_shapes
from maskmim.training.build import jitted_step
from maskmim.types import Context, Randomness, Variables, random_key
from tests.masks.every import context_at, main_grid, standalone_samplers
from tests.tiny_configs import promoting_nothing, tiny, zeros

pytestmark = pytest.mark.full


@pytest.fixture
def strict():
    with promoting_nothing():
        yield


@pytest.mark.parametrize("name", ["colormae", "vq_kd"])
def test_micro_batches_promote_nothing(name, strict):
    config, parts, _ = tiny(name)
    config.train.micro_batches = 2
    batch = batch_shapes(config, config.train.batch_size)
    jax.eval_shape(jitted_step(config, parts), parts.shapes, parts.frozen_shapes, batch)


def test_generation_promotes_nothing(strict):
    _, parts, _ = tiny("maskgit")
    length = math.prod(next(iter(parts.method.net.grids.values())))
    codes, classes = jnp.zeros((2, length), jnp.int32), jnp.zeros((2,), jnp.int32)
    randomness = Randomness.of(random_key(0), 2)
    generate = parts.method.apply["generate"]
    jax.eval_shape(lambda v: generate(v, codes, classes, randomness), zeros(parts))
    jax.eval_shape(lambda v: parts.method.apply["draw"](v, codes), zeros(parts))


@pytest.mark.parametrize("sampler", standalone_samplers(), ids=lambda each: each.name)
def test_samplers_promote_nothing(sampler, strict):
    grid = main_grid(sampler)
    options = {"ratio": 0.75} if "ratio" in sampler.takes else {}

    def draw(randomness, hints):
        context = Context({}, {"tokens": grid}, hints, jnp.float32(0.5))
        return sampler.function(randomness, context, **options)

    hints = dict(context_at(sampler, grid, np.arange(3)).hints)
    jax.eval_shape(draw, Randomness.of(random_key(0), 3), hints)


def test_an_eager_encode_with_learned_positions_takes_numpy_parameters():
    _, parts, _ = tiny("pixio")
    net, params = parts.method.net, zeros(parts).params
    randomness = Randomness.of(random_key(0), 2)
    batch = {"image": np.zeros((2, *parts.spec.shape), np.uint8)}
    masked = parts.method.apply["mask"](Variables(params, (), ()), batch, randomness)
    encoded = net.encode(params, masked["inputs"], masked["mask"])
    assert encoded.tokens.shape[:2] == masked["mask"].visible.shape
