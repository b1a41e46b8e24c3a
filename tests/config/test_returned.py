"""Bricks that return something else than their kind, and losses of another shape."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.config.bricks import BrickError
from maskmim.config.load import load
from maskmim.config.returned import returned
from maskmim.methods.masked import MethodError, check_loss_shape
from maskmim.models.layers.errors import ModelError
from maskmim.objectives import match
from maskmim.training import build
from maskmim.types import Context, Mask, View


def nothing(*_, **__):
    return None


def half(span):
    return 0.5


def summed(prediction, target):
    return jnp.sum((prediction - target) ** 2)


def view() -> View:
    token = jnp.zeros((2, 3), jnp.int32)
    mask = Mask(token, token, token.astype(bool), jnp.ones((2, 3)))
    context = Context({}, {"image": (1, 3)}, {})
    return View(None, context, None, mask, None, {"pixels": jnp.ones((2, 3, 4))}, ())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "None"),
        (np.zeros((2, 3), bool), "an array of bool of shape (2, 3)"),
        (0.5, "a float"),
        ((1, 2), "a tuple"),
    ],
)
def test_what_was_returned_is_said(value, words):
    with pytest.raises(BrickError) as caught:
        returned(value, Mask, "mask.brick", partial(nothing, ratio=0.5))
    path = f"{__name__}.nothing"
    assert str(caught.value) == f"mask.brick ({path}) returned {words}, not a Mask"


@pytest.mark.parametrize(
    ("key", "part"),
    [("model.brick", "model"), ("objectives.pixels.brick", "objectives.pixels")],
)
def test_a_part_of_a_method_that_is_none_is_named(key, part):
    config = load("mae:tiny")
    with config.unlocked():
        section = config
        for step in part.split("."):
            section = section[step]
        for name in [name for name in section if name != "brick"]:
            del section[name]
        section.brick = f"{__name__}.nothing"
    with pytest.raises(BrickError, match=rf"{key} \(.*nothing\) returned None, not an? "):
        build.build_method(config)


def test_a_schedule_that_is_a_number_and_an_optimiser_that_is_none_are_named():
    config = load("mae:tiny")
    with config.unlocked():
        config.schedule = {"brick": f"{__name__}.half"}
        with pytest.raises(BrickError, match=r"schedule.brick \(.*half\) returned a float"):
            build.build_optimiser(config, 100)
    config = load("mae:tiny")
    with config.unlocked():
        config.optim = {"brick": f"{__name__}.nothing"}
        with pytest.raises(BrickError, match=r"optim.brick \(.*nothing\) returned None"):
            build.build_optimiser(config, 100)


def test_both_kinds_of_optax_transformations_are_optimisers():
    made = optax.with_extra_args_support(optax.sgd(1.0))
    assert returned(made, optax.GradientTransformation, "optim.brick", optax.sgd) is made


@pytest.mark.parametrize(
    ("loss", "target", "error", "words"),
    [
        (summed, lambda view: view.outputs["pixels"], ModelError, "has the shape ()"),
        (nothing, lambda view: view.outputs["pixels"], BrickError, "returned None, not an Array"),
        (summed, lambda view: view, BrickError, "the target of the head 'pixels'"),
    ],
)
def test_a_loss_without_one_value_for_each_token_is_refused(loss, target, error, words):
    objective = match(head="pixels", target=target, loss=loss)
    with pytest.raises(error) as caught:
        jax.eval_shape(lambda: objective.find(view())[0])
    assert words in str(caught.value)


def test_the_loss_of_any_objective_has_the_shape_of_its_weights():
    check_loss_shape("objectives.pixels", jnp.ones((2, 3)), jnp.ones((2, 3)))
    with pytest.raises(MethodError, match=r"objectives.pixels: the loss has the shape \(2,\)"):
        check_loss_shape("objectives.pixels", jnp.ones(2), jnp.ones((2, 3)))
