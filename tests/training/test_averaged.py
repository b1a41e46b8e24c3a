"""An average of the weights of any method: what it holds after each step, and who reads it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from maskmim.config import base, to_json
from maskmim.config.upgrade import upgrade
from maskmim.teachers.momentum import constant, cosine
from maskmim.training.averaged import AveragedError, averaged
from maskmim.training.train_step import initial_state, make_train_step
from maskmim.types import Losses, Mean, Method, Variables
from tests.tolerances import REORDERED

STEPS = 6


def line(**apply) -> Method:
    """A method that fits a line to points, counts its updates, and keeps its slope for callers."""

    def loss(variables, batch, randomness, progress):
        params = variables.params
        error = params["slope"] * batch["x"] + params["offset"] - batch["y"]
        return Losses(
            {"fit": Mean(jnp.sum(error**2), jnp.float32(error.size))}, {"fit": 1.0}, {}, ()
        )

    def slope(variables, batch, *, capture=()):
        return variables.params["slope"], variables.extra["updates"]

    return Method(
        net=None,
        init=lambda key: (
            {"slope": jnp.float32(3.0), "offset": jnp.float32(-1.0)},
            {"updates": jnp.float32(0.0)},
        ),
        freeze=lambda: {"bank": jnp.float32(7.0)},
        loss=loss,
        refresh=lambda variables, carry, progress: {"updates": variables.extra["updates"] + 1},
        apply={"encode": slope, **apply},
        chain=(("tokens", "none"),),
        sheets={"slope": lambda variables, batch, randomness: variables.params["slope"]},
    )


def batch(seed, bad=False):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 8)).astype(np.float32)
    return {"x": np.full_like(x, np.nan) if bad else x, "y": y}


def train(method, steps=STEPS, micro_batches=1, bad=()):
    """Return the states from before the first step to after the last."""
    optimiser = optax.sgd(0.1)
    states, frozen = [initial_state(method, optimiser, jax.random.key(0))], method.freeze()
    step = jax.jit(
        make_train_step(method, optimiser, seed=0, total_steps=steps, micro_batches=micro_batches)
    )
    for number in range(steps):
        states.append(step(states[-1], frozen, batch(number, number in bad))[0])
    return states


def numpy_average(states, momentum):
    """The average after each step, in float64."""
    average = {name: np.float64(value) for name, value in states[0].params.items()}
    for number, state in enumerate(states[1:]):
        kept = momentum(number / STEPS)
        average = {n: kept * average[n] + (1 - kept) * np.float64(state.params[n]) for n in average}
    return average


def cosine_in_numpy(progress):
    return 1.0 - (1.0 - 0.5) * 0.5 * (1 + np.cos(np.pi * progress))


MOMENTA = {
    "constant": (partial(constant, value=0.9), lambda progress: 0.9),
    "cosine": (partial(cosine, start=0.5), cosine_in_numpy),
}


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("name", MOMENTA)
def test_the_average_is_that_of_numpy_after_several_steps(name, micro_batches):
    momentum, expected = MOMENTA[name]
    states = train(averaged(line(), momentum), micro_batches=micro_batches)
    average = numpy_average(states, expected)
    for part, value in states[-1].extra["average"].items():
        np.testing.assert_allclose(value, average[part], rtol=REORDERED)
        assert abs(average[part] - states[-1].params[part]) > 0.01, "nothing was averaged"


def test_training_is_that_of_the_method_alone():
    alone, beside = train(line()), train(averaged(line(), partial(constant, value=0.9)))
    jax.tree.map(np.testing.assert_array_equal, beside[-1].params, alone[-1].params)
    np.testing.assert_array_equal(beside[-1].extra["method"]["updates"], STEPS)


def test_the_average_starts_as_a_copy():
    (start,) = train(averaged(line(), partial(constant, value=0.9)), steps=0)
    jax.tree.map(np.testing.assert_array_equal, start.extra["average"], start.params)


def test_a_bad_step_leaves_the_average():
    states = train(averaged(line(), partial(constant, value=0.9)), bad=(2, 3))
    jax.tree.map(np.testing.assert_array_equal, states[4].extra, states[2].extra)
    assert float(states[5].extra["average"]["slope"]) != float(states[2].extra["average"]["slope"])


def variables_of(method):
    state = train(method)[-1]
    return Variables(state.params, state.extra, method.freeze())


def test_evaluation_and_pictures_read_the_average_and_the_students_entry_the_trained():
    method = averaged(line(), partial(constant, value=0.9))
    variables = variables_of(method)
    slope, updates = method.apply["encode"](variables, {})
    assert slope == variables.extra["average"]["slope"] and updates == STEPS
    assert method.sheets["slope"](variables, {}, None) == variables.extra["average"]["slope"]
    student, updates = method.apply["encode_student"](variables, {})
    assert student == variables.params["slope"] != slope and updates == STEPS


def test_a_method_that_evaluates_its_own_teacher_is_refused():
    with pytest.raises(AveragedError, match="its own teacher's averaged weights"):
        averaged(line(encode_student=lambda variables, batch: 0), partial(constant, value=0.9))


def test_a_loss_on_held_out_examples_is_that_of_the_average():
    method = averaged(line(), partial(constant, value=0.9))
    variables = variables_of(method)
    held_out = batch(99)
    evaluated = method.apply["evaluated"](variables)
    found = method.loss(evaluated, held_out, None, 0.0).terms["fit"].value
    average = variables.extra["average"]
    error = average["slope"] * held_out["x"] + average["offset"] - held_out["y"]
    np.testing.assert_allclose(found, np.mean(np.square(error)), rtol=REORDERED)


def test_people_read_that_an_average_is_evaluated():
    chain = averaged(line(), partial(constant, value=0.9)).chain
    assert chain[-1] == (
        "evaluated with",
        "averaged weights, momentum teachers.momentum.constant(value=0.9)",
    )


def test_a_config_of_before_has_no_average():
    old = ConfigDict(base().to_dict())
    del old["ema"]
    assert upgrade(old).ema is None and to_json(upgrade(old)) == to_json(base())
