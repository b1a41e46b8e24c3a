"""Learned functions beside a network: their parameters, their names, what is refused."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.bricks import BrickError
from maskmim.models.calls import call_of, refuse_unused, watched, with_calls
from maskmim.models.layers.errors import ModelError
from maskmim.models.msn import cosine_prototypes
from maskmim.models.prototypes import prototypes
from maskmim.types import LearnedFunction, Net

WIDTH = 4


def net(**calls) -> Net:
    """A network of one parameter, with functions of its own."""

    def init(key):
        return {"encoder": jax.random.normal(key, (WIDTH,))}

    rest = dict.fromkeys(("inputs", "encode", "predict", "patchify", "restore", "display"))
    return Net(grids={"image": (2, 2)}, width=WIDTH, init=init, calls=calls, **rest)


def scaled(width, *, start=2.0) -> LearnedFunction:
    """A brick: multiply by a learned vector."""
    return LearnedFunction(
        lambda key: jnp.full(width, start) + jax.random.uniform(key, (width,)),
        lambda params, x, *, twice=False: x * params * (1 + twice),
        "scaled",
    )


def test_a_function_is_called_with_its_own_parameters():
    made = with_calls(net(), {"project": scaled, "other": partial(scaled, start=5.0)})
    params = made.init(jax.random.key(0))
    assert set(params) == {"encoder", "project", "other"}
    x = jnp.arange(4.0)
    np.testing.assert_array_equal(made.calls["project"](params, x), x * params["project"])
    doubled = made.calls["other"](params, x, twice=True)
    np.testing.assert_array_equal(doubled, 2 * x * params["other"])
    assert ("function project", "scaled") in made.says


def test_parameters_start_alike_whatever_functions_there_are():
    """A network starts as without functions, a function as without the others."""
    key = jax.random.key(3)
    alone = with_calls(net(), {"project": scaled}).init(key)
    beside = with_calls(net(), {"a": scaled, "project": scaled}).init(key)
    np.testing.assert_array_equal(alone["encoder"], net().init(key)["encoder"])
    np.testing.assert_array_equal(alone["project"], beside["project"])
    assert not np.array_equal(beside["a"], beside["project"])


def test_gradients_reach_the_function():
    made = with_calls(net(), {"clusters": partial(prototypes, clusters=3)})
    params = made.init(jax.random.key(0))
    tokens = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, WIDTH)), jnp.float32)
    loss = lambda params: jnp.sum(jax.nn.logsumexp(made.calls["clusters"](params, tokens), -1))  # noqa: E731
    gradients = jax.grad(loss)(params)
    unit = np.asarray(tokens) / np.linalg.norm(tokens, axis=-1, keepdims=True)
    logits = unit @ params["clusters"]["kernel"]
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = np.einsum("bnd,bnk->dk", unit, shares)
    np.testing.assert_allclose(gradients["clusters"]["kernel"], expected, rtol=1e-4, atol=1e-5)
    assert not np.any(gradients["encoder"])


def test_cosines_with_prototypes_do_not_depend_on_lengths():
    made = with_calls(net(), {"prototypes": partial(cosine_prototypes, clusters=3, inputs=5)})
    params = made.init(jax.random.key(0))
    kernel = params["prototypes"]["kernel"]
    assert kernel.shape == (5, 3) and np.abs(kernel).max() <= 5**-0.5
    features = np.random.default_rng(0).normal(size=(2, 4, 5)).astype(np.float32)
    unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
    expected = unit @ (kernel / np.linalg.norm(kernel, axis=0))
    longer = {**params, "prototypes": {"kernel": 7 * kernel}}
    call = made.calls["prototypes"]
    np.testing.assert_allclose(call(params, features), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(call(longer, 3 * features), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ModelError, match="prototypes of 5 values get features of 4"):
        call(params, features[..., :4])


def test_names_that_are_taken_are_refused():
    with pytest.raises(ModelError, match=r"function 'loss' already: rename calls\.loss"):
        with_calls(net(loss=lambda params: params), {"loss": scaled})
    with pytest.raises(ModelError, match=r"parameters 'encoder' already: rename calls\.encoder"):
        with_calls(net(), {"encoder": scaled}).init(jax.random.key(0))


def test_the_name_of_running_norms_is_refused():
    """Parameters of that name would be taken for averages, and the encoder would read them."""
    with pytest.raises(ModelError, match=r"calls\.norms has the name of the running averages"):
        with_calls(net(), {"norms": scaled})


@pytest.mark.parametrize("calls", [{}, {"project": scaled}])
def test_a_function_that_there_is_not_is_named_with_the_nearest(calls):
    made = with_calls(net(projector=lambda params: params), calls)
    with pytest.raises(ModelError, match=r"no function 'projectr', but pro.*mean 'projector'\?"):
        made.calls["projectr"]
    with pytest.raises(ModelError, match=r"'denoise', but .*: add a brick config\.calls\.denoise"):
        made.calls["denoise"]
    assert "denoise" not in made.calls and "projector" in made.calls


def test_functions_that_nothing_looks_up_are_refused():
    made, used = watched(with_calls(net(), {"project": scaled, "other": scaled}))
    made.calls["project"](made.init(jax.random.key(0)), jnp.ones(WIDTH))
    refuse_unused(["project"], used)
    with pytest.raises(ModelError, match=r"calls\.other is called by no objective"):
        refuse_unused(["project", "other"], used)


def test_a_brick_that_makes_no_function_is_refused():
    with pytest.raises(BrickError, match=r"calls\.project\.brick"):
        with_calls(net(), {"project": lambda width: width})


def test_an_unknown_function_names_those_that_there_are():
    with pytest.raises(ModelError, match="no function 'project', but other: add a brick config"):
        call_of(net(other=lambda params: params), "project")
