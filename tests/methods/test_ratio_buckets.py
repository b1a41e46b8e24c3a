"""A mask ratio that grows: the right ratio at the right time, at the cost of that ratio alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.losses.regression import squared_error
from maskmim.masks.growth import bucketed, linear
from maskmim.masks.uniform import random
from maskmim.methods.ratio_buckets import masked_in_buckets
from maskmim.objectives.matching import match
from maskmim.targets.pixels import normalised_patches
from maskmim.training.train_step import make_train_step
from maskmim.types import Randomness
from tests.tiny import SPEC, begin, pictures, tiny_method, tiny_model
from tests.tolerances import REORDERED

pytestmark = pytest.mark.full

LOW, HIGH, COUNT = 0.25, 0.75, 3


def bucket_method():
    return masked_in_buckets(
        SPEC,
        model=tiny_model(),
        mask=partial(random, ratio=0.5),
        objectives={
            "pixels": partial(match, head="pixels", target=normalised_patches, loss=squared_error)
        },
        teachers={},
        buckets=partial(
            bucketed,
            growth=partial(linear, low=LOW, high=HIGH, until=0.5),
            low=LOW,
            high=HIGH,
            count=COUNT,
        ),
    )


@pytest.mark.proves(28, "the mask ratio grows over training in static buckets")
@pytest.mark.parametrize(("progress", "ratio"), [(0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (1, 0.75)])
def test_each_bucket_is_the_method_at_its_ratio(progress, ratio):
    method, alone = bucket_method(), tiny_method(mask=partial(random, ratio=ratio))
    variables = method.variables(jax.random.key(0))
    batch = {"image": pictures(4)}
    randomness = Randomness.of(jax.random.key(1), 4)
    terms = jax.jit(lambda p: method.loss(variables, batch, randomness, p).terms)(
        jnp.float32(progress)
    )
    expected = alone.loss(variables, batch, randomness, jnp.float32(progress)).terms
    assert (
        float(terms["pixels"].weight) == float(expected["pixels"].weight) == 4 * round(12 * ratio)
    )
    np.testing.assert_allclose(terms["pixels"].total, expected["pixels"].total, rtol=REORDERED)


def test_one_step_is_traced_for_all_ratios_and_trains():
    method, optimiser = bucket_method(), optax.adam(1e-3)
    step = jax.jit(make_train_step(method, optimiser, seed=0, total_steps=6))
    state, frozen = begin(method, optimiser)
    losses = []
    for _ in range(6):
        state, metrics = step(state, frozen, {"image": pictures(4)})
        losses.append(float(metrics["loss"]))
    assert step._cache_size() == 1
    assert np.isfinite(losses).all() and int(state.step) == 6


def test_micro_batches_change_nothing():
    method, optimiser = bucket_method(), optax.sgd(1.0)
    state, frozen = begin(method, optimiser)
    batch = {"image": pictures(4)}
    whole, _ = jax.jit(make_train_step(method, optimiser, seed=0, total_steps=6))(
        state, frozen, batch
    )
    parts, _ = jax.jit(make_train_step(method, optimiser, seed=0, total_steps=6, micro_batches=2))(
        state, frozen, batch
    )
    for one, other in zip(
        jax.tree.leaves(whole.params), jax.tree.leaves(parts.params), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=REORDERED)
