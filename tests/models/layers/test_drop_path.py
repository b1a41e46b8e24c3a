"""Stochastic depth: its rates, its expectation, and one draw per example."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from maskmim.masks.uniform import random
from maskmim.models.cae import vit_cae
from maskmim.models.layers.drop_path import drop_path_factors
from maskmim.models.rotary_vit import vit_rotary
from maskmim.types import Context, Randomness
from tests.tiny import SPEC, pictures, tiny_method, tiny_model
from tests.tolerances import SIGNIFICANCE

pytestmark = pytest.mark.full


def test_rates_rise_to_the_last_block_and_keep_the_expectation():
    factors = np.asarray(
        drop_path_factors(Randomness.of(jax.random.key(0), 4000), depth=5, rate=0.4)
    )
    assert factors.shape == (5, 4000, 2)
    for block, rate in zip(factors, (0.0, 0.1, 0.2, 0.3, 0.4), strict=True):
        assert set(np.unique(block)) <= {np.float32(0), np.float32(1 / np.float32(1 - rate))}
        dropped = int((block == 0).sum())
        assert stats.binomtest(dropped, block.size, rate).pvalue > SIGNIFICANCE


def test_nothing_is_dropped_without_randomness():
    assert drop_path_factors(None, depth=3, rate=0.5) is None
    assert drop_path_factors(Randomness.of(jax.random.key(0), 2), depth=3, rate=0.0) is None


def test_training_drops_and_evaluation_does_not():
    method = tiny_method(model=tiny_model(drop_path=0.9))
    variables, batch = method.variables(jax.random.key(0)), {"image": pictures(6)}
    inputs, randomness = method.net.inputs(batch), Randomness.of(jax.random.key(1), 6)
    whole = method.net.encode(variables.params, inputs, None)
    np.testing.assert_array_equal(whole.tokens, method.apply["encode"](variables, batch).tokens)
    dropped = method.net.encode(variables.params, inputs, None, randomness=randomness)
    assert (np.abs(dropped.tokens - whole.tokens).max((1, 2)) > 0).sum() >= 4
    part = Randomness(randomness.key, jnp.array([4, 1], jnp.uint32))
    some = method.net.encode(variables.params, inputs[jnp.array([4, 1])], None, randomness=part)
    np.testing.assert_allclose(some.tokens, dropped.tokens[jnp.array([4, 1])], atol=1e-5)


PREDICTORS = {
    "cae": partial(vit_cae, layer_scale=1.0, regressor_depth=2, decoder_depth=2, heads={"a": 5}),
    "capi": partial(vit_rotary, registers=4, decoder_depth=2, heads={"a": 5}),
}


@pytest.mark.parametrize("name", PREDICTORS)
def test_predictors_that_drop_paths_do_so_in_training_only(name):
    net = PREDICTORS[name](SPEC, variant="2x32x2", patch=(8, 8), drop_path=0.9)
    params, batch = net.init(jax.random.key(0)), {"image": pictures(6)}
    params = jax.tree.map(lambda x: x + 0.02, params)
    randomness = Randomness.of(jax.random.key(1), 6)
    mask = random(randomness, Context(batch, net.grids, {}), ratio=0.5)
    encoded = net.encode(params, net.inputs(batch), mask)
    whole = net.predict(params, encoded, mask)["a"]
    dropped = net.predict(params, encoded, mask, randomness=randomness)["a"]
    assert (np.abs(dropped - whole).max((1, 2)) > 0).sum() >= 3
    np.testing.assert_array_equal(whole, net.predict(params, encoded, mask)["a"])
