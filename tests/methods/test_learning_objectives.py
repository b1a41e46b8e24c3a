"""Objectives that learn and draw: their parameters, and random numbers that are their own."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.masks.uniform import random
from maskmim.methods.masked import MethodError, masked
from maskmim.training.train_step import make_train_step
from maskmim.types import (
    Encoded,
    LearnedFunction,
    Mean,
    Net,
    Objective,
    Randomness,
    Spec,
    Variables,
)
from tests.tiny import begin

SPEC = Spec((4,), 1, (0.0,), (1.0,), stream="numbers", dtype="float32")
WIDTH = 3


def model(spec) -> Net:
    """Embed each number by one learned vector; predict nothing."""

    def encode(params, inputs, mask, *, capture=(), randomness=None):
        tokens = inputs * params["encoder"]["kernel"]
        if mask is not None:
            tokens = jnp.take_along_axis(tokens, mask.visible[..., None], axis=1)
        return Encoded(tokens[:, :0], tokens)

    return Net(
        grids={"numbers": (4,)},
        width=WIDTH,
        init=lambda key: {"encoder": {"kernel": jax.random.normal(key, (1, 1, WIDTH))}},
        inputs=lambda batch: batch["numbers"],
        encode=encode,
        predict=lambda params, encoded, mask, *, randomness=None: {},
        patchify=lambda inputs: inputs,
        restore=None,
        display=None,
    )


def denoiser(width) -> LearnedFunction:
    """A brick: a linear layer, as a diffusion head would be."""
    return LearnedFunction(
        lambda key: {"kernel": jax.random.normal(key, (width, width))},
        lambda params, x: x @ params["kernel"],
    )


def denoise(*, call: str = "denoise") -> Objective:
    """Predict the noise that was added to each visible token."""

    def find(view):
        tokens = view.encoded.tokens
        keys = view.randomness.each("noise")
        noise = jax.vmap(lambda key: jax.random.normal(key, tokens.shape[1:]))(keys)
        found = view.net.calls[call](view.params, tokens + noise)
        loss = jnp.mean((found - noise) ** 2, axis=-1)
        drawn = {"drawn": Mean(jnp.sum(noise), jnp.float32(1.0))}
        return loss, jnp.ones_like(loss), drawn, ()

    return Objective((), 1.0, find, "noise", calls=(call,))


def method(**objectives):
    return masked(
        SPEC,
        model=model,
        mask=partial(random, ratio=0.5),
        objectives=objectives or {"noise": denoise},
        teachers={},
        calls={"denoise": denoiser},
    )


def batch(examples=8):
    rng = np.random.default_rng(0)
    return {"numbers": rng.normal(size=(examples, 4, 1)).astype(np.float32)}


def losses(made, randomness):
    variables = Variables(*made.init(jax.random.key(0)), made.freeze())
    return made.loss(variables, batch(), randomness, jnp.float32(0))


def test_the_function_and_the_encoder_learn():
    made = method()
    state, frozen = begin(made, optax.sgd(0.1))
    step = make_train_step(made, optax.sgd(0.1), seed=0, total_steps=2)
    after, _ = step(state, frozen, batch())
    for name in ("encoder", "denoise"):
        before, now = state.params[name]["kernel"], after.params[name]["kernel"]
        assert not np.any(np.asarray(before) == np.asarray(now)), name


def test_noise_is_drawn_for_each_slot_and_step():
    made = method()
    key = jax.random.key(1)
    whole = losses(made, Randomness.of(key, 8))
    assert whole.terms["noise"].value == losses(made, Randomness.of(key, 8)).terms["noise"].value
    other = losses(made, Randomness.of(jax.random.key(2), 8))
    assert whole.metrics["noise/drawn"].total != other.metrics["noise/drawn"].total


def test_each_objective_draws_its_own():
    made = method(one=denoise, two=denoise)
    found = losses(made, Randomness.of(jax.random.key(1), 8))
    assert found.metrics["one/drawn"].total != found.metrics["two/drawn"].total


def test_micro_batches_change_nothing():
    """Each part draws what its slots draw in the whole batch."""
    made, rows = method(), []
    for parts in (1, 4):
        state, frozen = begin(made, optax.sgd(0.1))
        options = {"seed": 0, "total_steps": 2, "micro_batches": parts}
        step = make_train_step(made, optax.sgd(0.1), **options)
        after, metrics = step(state, frozen, batch())
        rows.append((metrics["loss"], after.params["denoise"]["kernel"]))
    np.testing.assert_allclose(rows[1][0], rows[0][0], rtol=1e-6)
    np.testing.assert_allclose(rows[1][1], rows[0][1], rtol=1e-5, atol=1e-6)


def test_a_function_that_is_missing_is_named():
    with pytest.raises(MethodError, match=r"objectives\.noise calls project of the network"):
        method(noise=partial(denoise, call="project"))
