"""Updates of a spike of loss or gradient are skipped to the last bit, also after a restart."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.checkpoints.writer import Checkpoints
from maskmim.optim.adam import adamw
from maskmim.optim.skip_spikes import SpikesState, last_update_skipped, without_spikes
from maskmim.training.sharding import make_mesh, state_shardings, transformer
from maskmim.training.train_step import initial_state, make_train_step
from maskmim.types import Losses, Mean, Method, State, nothing

WINDOW = 8


def optimiser(**changes):
    wrapped = functools.partial(adamw, clip_norm=1.0)
    options = {"optimiser": wrapped, "lr": 0.1, "lr_per": 0, "window": WINDOW, **changes}
    return without_spikes(lambda step: 1.0, 4, **options)


def slope():
    """Build a method with the loss scale * (w . x); `extra` counts the refreshes."""

    def init(key):
        return {"kernel": jnp.array([0.5, -0.0, 0.25])}, {"refreshed": jnp.zeros(())}

    def loss(variables, batch, randomness, progress):
        value = jnp.sum(batch["scale"] * (batch["x"] @ variables.params["kernel"]))
        mean = Mean(value + jnp.sum(batch["offset"]), jnp.ones(()))
        return Losses({"only": mean}, {"only": 1.0}, {}, ())

    def refresh(variables, carry, progress):
        return {"refreshed": variables.extra["refreshed"] + 1}

    return Method(None, init, nothing, loss, refresh, {}, ())


def batch(scale=1.0, offset=4.0):
    x = jnp.array([[1.0, 0.0, 0.5]])
    return {"x": x, "scale": jnp.float32([scale]), "offset": jnp.float32([offset])}


@functools.cache
def compiled(**changes):
    optim = optimiser(**changes)
    return optim, jax.jit(make_train_step(slope(), optim, seed=0, total_steps=100))


def run_steps(batches, state=None, **changes):
    """Return the states, the first one included, and the metrics of some steps."""
    optim, step = compiled(**changes)
    states = [state or initial_state(slope(), optim, jax.random.key(0))]
    rows = []
    for step_batch in batches:
        state, metrics = step(states[-1], (), step_batch)
        states.append(state)
        rows.append({name: float(value) for name, value in metrics.items()})
    return states, rows


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("spike", [batch(scale=50.0, offset=4.0), batch(offset=40.0)])
def test_a_spike_changes_no_bit_of_parameters_extra_and_the_wrapped_optimiser(spike):
    states, rows = run_steps([*[batch()] * WINDOW, spike, batch()])
    assert [row["spike"] for row in rows] == [0.0] * WINDOW + [1.0, 0.0]
    before, skipped, after = states[-3:]
    assert bits((skipped.params, skipped.extra)) == bits((before.params, before.extra))
    assert bits(skipped.opt_state.inner) == bits(before.opt_state.inner)
    assert int(skipped.step) == int(before.step) + 1
    assert bits(after.params) != bits(skipped.params)
    assert rows[-2]["bad_steps"] == 0.0


def test_no_step_is_a_spike_before_the_window_is_full():
    _, rows = run_steps([*[batch()] * (WINDOW - 1), batch(scale=50.0)])
    assert [row["spike"] for row in rows] == [0.0] * WINDOW


def test_a_level_that_lasts_is_the_new_level_after_half_a_window():
    _, rows = run_steps([*[batch()] * WINDOW, *[batch(offset=40.0)] * WINDOW])
    spikes = [row["spike"] for row in rows[WINDOW:]]
    assert spikes == [1.0] * (WINDOW // 2) + [0.0] * (WINDOW // 2)


def test_a_step_that_is_not_finite_is_not_a_spike_and_not_in_the_median():
    states, rows = run_steps([*[batch()] * WINDOW, batch(scale=np.nan), batch(scale=50.0)])
    assert [row["spike"] for row in rows[-2:]] == [0.0, 1.0]
    assert [row["bad_steps"] for row in rows[-2:]] == [1.0, 0.0]
    assert bits(states[-2].opt_state) == bits(states[-3].opt_state)


def test_with_infinite_factors_it_is_the_wrapped_optimiser_to_the_last_bit():
    infinite = {"loss_factor": float("inf"), "norm_factor": float("inf")}
    batches = [*[batch()] * WINDOW, batch(scale=50.0), batch()]
    states, _ = run_steps(batches, **infinite)
    plain = adamw(lambda step: 1.0, 4, lr=0.1, lr_per=0, clip_norm=1.0)
    step = jax.jit(make_train_step(slope(), plain, seed=0, total_steps=100))
    state = initial_state(slope(), plain, jax.random.key(0))
    for step_batch in batches:
        state, metrics = step(state, (), step_batch)
    assert bits(states[-1].params) == bits(state.params)
    assert "spike" not in metrics and last_update_skipped(state.opt_state) is None


def test_a_restored_run_skips_as_one_that_was_not_stopped(tmp_path):
    batches = [*[batch()] * (WINDOW + 2), batch(scale=50.0), *[batch(scale=7.0)] * 3, batch()]
    uninterrupted, rows = run_steps(batches)
    stopped, _ = run_steps(batches[: WINDOW + 1])
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(WINDOW + 1, stopped[-1], {}, "{}")
    checkpoints.wait()
    shapes = jax.eval_shape(lambda: stopped[-1])
    sharding = stopped[-1].step.sharding
    like = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding), shapes
    )
    restored = State(*checkpoints.restore(like).state)
    checkpoints.close()
    assert isinstance(restored.opt_state, SpikesState)
    resumed, rows_after = run_steps(batches[WINDOW + 1 :], state=restored)
    assert bits(resumed[-1]) == bits(uninterrupted[-1])
    assert rows_after == rows[WINDOW + 1 :]
    assert [row["spike"] for row in rows][WINDOW + 2 : -1] == [1.0] * 4


def test_its_state_is_placed_on_a_mesh():
    optim, _ = compiled()
    shapes = jax.eval_shape(lambda: initial_state(slope(), optim, jax.random.key(0)))
    mesh = make_mesh({"data": -1, "fsdp": 1, "sequence": 1, "tensor": 1})
    shardings = state_shardings(shapes, optim, (("", ()), *transformer()), mesh)
    assert jax.tree.structure(shardings) == jax.tree.structure(shapes)


def test_it_wraps_the_optimiser_of_a_config():
    from maskmim.config.bricks import brick
    from maskmim.config.load import load
    from maskmim.training.build import assemble

    config = load("configs/mae.py:tiny")
    config.optim = brick(without_spikes, optimiser=brick(adamw), lr=1e-3)
    parts = assemble(config, 296)
    assert last_update_skipped(parts.shapes.opt_state).shape == ()
    assert optax.tree.get(parts.shapes.opt_state, "norms").shape == (128,)
    assert parts.peak == pytest.approx(1e-3 * 16 / 256)
