"""Parameters that are held still: every bit, their moments, and what follows when they are not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.optim.adam import adamw
from maskmim.optim.frozen import FrozenError, LateState, frozen_until
from maskmim.schedules.warmup import Span, Timed
from maskmim.training.sharding import make_mesh, state_shardings, transformer
from maskmim.types import State
from tests.tolerances import REORDERED

STEPS, UNTIL = 10, 0.4
SPAN = Span(STEPS, 2.0)
SCHEDULE = Timed(SPAN, lambda step: 1.0 - step / STEPS)
OPTIONS = {"lr": 0.1, "lr_per": 0}
WRAPPED = partial(adamw, b2=0.9, weight_decay=0.3)
PARAMS = {
    "encoder": {"kernel": jnp.asarray([[0.5, -1.0, 2.0]]), "bias": jnp.asarray([0.1, 0.2])},
    "classify": {"kernel": jnp.asarray([[1.0, 3.0]])},
}


def gradients(step):
    rng = np.random.default_rng(step)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), PARAMS)


def trained(optimiser, *, first=0, last=STEPS, start=None):
    """The parameters and the state after each step, those before included."""
    states = [start or (PARAMS, optimiser.init(PARAMS))]
    update = jax.jit(optimiser.update)
    for step in range(first, last):
        params, state = states[-1]
        updates, state = update(gradients(step), state, params)
        states.append((jax.tree.map(jnp.add, params, updates), state))
    return states


def late(until=UNTIL):
    return frozen_until(
        SCHEDULE, 4, optimiser=WRAPPED, paths=("^encoder/",), until=until, **OPTIONS
    )


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def late_state(state):
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, LateState))
    return next(node for node in nodes if isinstance(node, LateState))


def test_held_parameters_and_their_moments_keep_every_bit():
    states = trained(late())
    for step, (params, state) in enumerate(states):
        held = step <= round(UNTIL * STEPS)
        assert (bits(params["encoder"]) == bits(PARAMS["encoder"])) == held, step
        assert (bits(late_state(state).inner) == bits(late_state(states[0][1]).inner)) == held
        assert step == 0 or bits(params["classify"]) != bits(states[step - 1][0]["classify"])


def test_the_others_are_as_without_it():
    plain, found = trained(WRAPPED(SCHEDULE, 4, **OPTIONS)), trained(late())
    for (expected, _), (params, _) in zip(plain, found, strict=True):
        np.testing.assert_allclose(
            params["classify"]["kernel"], expected["classify"]["kernel"], rtol=REORDERED
        )


def test_a_late_start_is_a_fresh_optimiser_on_the_schedule_of_the_run():
    start = round(UNTIL * STEPS)
    shifted = Timed(SPAN, lambda step: SCHEDULE(step + start))
    fresh = WRAPPED(shifted, 4, **OPTIONS)
    expected = trained(fresh, first=start, start=(PARAMS, fresh.init(PARAMS)))[-1][0]
    params = trained(late())[-1][0]
    leaves = map(jax.tree.leaves, (params["encoder"], expected["encoder"]))
    for one, other in zip(*leaves, strict=True):
        np.testing.assert_allclose(one, other, rtol=REORDERED)


def test_for_good_keeps_no_state():
    states = trained(late(until=1.0))
    assert bits(states[-1][0]["encoder"]) == bits(PARAMS["encoder"])
    sizes = [leaf.size for leaf in jax.tree.leaves(states[0][1]) if leaf.ndim]
    unused = 2  # a number for each array of the encoder
    assert sum(sizes) == 2 * (PARAMS["classify"]["kernel"].size + unused)


@pytest.mark.parametrize("stop", [2, 4, 5])
def test_goes_on_bit_for_bit(stop):
    whole = trained(late())
    kept = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), whole[stop])
    assert bits(trained(late(), first=stop, start=kept)[-1]) == bits(whole[-1])


def test_its_state_lies_where_the_parameters_lie():
    """The rules of sharding find the moments inside."""
    optimiser, zero = late(), jnp.zeros((), jnp.int32)
    state = State(zero, PARAMS, (), optimiser.init(PARAMS), zero)
    shapes = jax.eval_shape(lambda: state)
    mesh = make_mesh({"data": 1}, jax.devices()[:1])
    shardings = state_shardings(shapes, optimiser, transformer(), mesh)
    assert jax.tree.structure(shardings) == jax.tree.structure(shapes)


def test_a_pattern_that_freezes_nothing_is_refused():
    paths = "^encoder/", "^encodr/"
    made = frozen_until(SCHEDULE, 4, optimiser=WRAPPED, paths=paths, until=0.5, **OPTIONS)
    with pytest.raises(FrozenError, match=r"'\^encodr/' of `paths` matches none of the 3 param"):
        made.init(PARAMS)
