"""The train step on a method small enough to differentiate by hand: weighted linear regression."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.training.train_step import make_train_step
from maskmim.types import Losses, Mean, Method, nothing
from tests.tiny import begin
from tests.tolerances import REORDERED

BATCH = 12


def regression(second_scale=0.5, poison_step=None):
    """Two objectives with different random weights per example, and a carry that refresh sums."""

    def init(key):
        return {"w": jnp.array([0.3, -0.2, 0.1])}, {"seen": jnp.zeros(())}

    def loss(variables, batch, randomness, progress):
        noise = jax.vmap(jax.random.uniform)(randomness.each("weights"))
        error = batch["x"] @ variables.params["w"] - batch["y"]
        if poison_step is not None:
            error = jnp.where(progress == poison_step / 10, jnp.nan, error)
        first = Mean(jnp.sum(noise * error**2), jnp.sum(noise))
        second = Mean(jnp.sum(jnp.abs(error)), jnp.float32(error.shape[0]))
        scales = {"first": 1.0, "second": second_scale}
        carry = jnp.sum(noise)
        return Losses({"first": first, "second": second}, scales, {"mae": second}, carry)

    def refresh(variables, carry, progress):
        return {"seen": variables.extra["seen"] + carry}

    return Method(None, init, nothing, loss, refresh, {}, ())


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=(BATCH, 3)).astype(np.float32),
        "y": rng.normal(size=(BATCH,)).astype(np.float32),
    }


def trained(method, batch, steps, micro_batches=1, lr=0.1):
    optimiser = optax.sgd(lr)
    step = jax.jit(
        make_train_step(method, optimiser, seed=7, total_steps=10, micro_batches=micro_batches)
    )
    state, frozen = begin(method, optimiser)
    metrics = {}
    for _ in range(steps):
        state, metrics = step(state, frozen, batch)
    return state, metrics, step


def test_update_equals_the_gradient_by_hand(batch):
    state, metrics, _ = trained(regression(), batch, steps=1)
    key = jax.random.fold_in(jax.random.key(7), 0)
    from maskmim.types import Randomness

    noise = np.asarray(
        jax.vmap(jax.random.uniform)(Randomness.of(key, BATCH).each("weights")), np.float64
    )
    w = np.array([0.3, -0.2, 0.1])
    error = batch["x"] @ w - batch["y"]
    first = 2 * (noise * error) @ batch["x"] / noise.sum()
    second = np.sign(error) @ batch["x"] / BATCH
    np.testing.assert_allclose(state.params["w"], w - 0.1 * (first + 0.5 * second), rtol=1e-5)
    expected = (noise * error**2).sum() / noise.sum() + 0.5 * np.abs(error).mean()
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["mae"], np.abs(error).mean(), rtol=1e-5)
    np.testing.assert_allclose(state.extra["seen"], noise.sum(), rtol=1e-5)


@pytest.mark.parametrize("micro_batches", [2, 3, 4, 12])
def test_accumulation_equals_the_large_batch(batch, micro_batches):
    """Even where the parts' weights differ: a mean of the parts' means would not be equal."""
    whole, whole_metrics, _ = trained(regression(), batch, steps=3)
    parts, part_metrics, _ = trained(regression(), batch, steps=3, micro_batches=micro_batches)
    np.testing.assert_allclose(parts.params["w"], whole.params["w"], rtol=REORDERED)
    np.testing.assert_allclose(parts.extra["seen"], whole.extra["seen"], rtol=REORDERED)
    for name, value in whole_metrics.items():
        np.testing.assert_allclose(part_metrics[name], value, rtol=REORDERED, err_msg=name)


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(batch):
    before, _, _ = trained(regression(), batch, steps=4)
    after, metrics, step = trained(regression(poison_step=4), batch, steps=5)
    np.testing.assert_array_equal(after.params["w"], before.params["w"])
    np.testing.assert_array_equal(after.extra["seen"], before.extra["seen"])
    assert int(metrics["bad_steps"]) == 1
    assert int(after.step) == 5
    again, metrics = step(after, (), batch)
    assert int(metrics["bad_steps"]) == 0
    assert not np.array_equal(again.params["w"], after.params["w"])


def test_the_step_traces_once(batch):
    _, _, step = trained(regression(), batch, steps=4, micro_batches=3)
    assert step._cache_size() == 1


def test_randomness_does_not_depend_on_how_a_batch_is_split():
    from maskmim.types import Randomness

    whole = Randomness.of(jax.random.key(3), 8)
    keys = jax.random.key_data(whole.each("mask"))
    half = Randomness(whole.key, whole.slots[4:])
    np.testing.assert_array_equal(jax.random.key_data(half.each("mask")), keys[4:])
    other = jax.random.key_data(whole.each("drop"))
    assert not np.array_equal(other, keys)
    assert len({tuple(row) for row in np.asarray(keys)}) == 8
