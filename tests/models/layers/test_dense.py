"""Dense layers: equal to Flax's, whatever XLA's CPU compiler is given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from maskmim.models.layers import dense, machine

ONE_CPU = pytest.mark.skipif(not machine.for_one_cpu(), reason="needs a single CPU device")
TOLERANCE = 2e-5


def layers(module):
    """Return Flax's layers and ours: a narrower, a wider, a split and a merging one."""
    return {
        "narrower": module.Dense(8),
        "wider": module.Dense(48, use_bias=False),
        "split": module.DenseGeneral((3, 2, 8)),
        "merged": module.DenseGeneral(16, axis=(-2, -1)),
    }


@pytest.mark.parametrize("name", layers(nn))
def test_values_and_gradients_are_those_of_flax(name):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (4, 6, 2, 10))
    ours, flax = layers(dense)[name], layers(nn)[name]
    variables = flax.init(keys[1], x)
    jax.tree.map(np.testing.assert_array_equal, variables, ours.init(keys[1], x))
    weights = jax.random.normal(keys[2], flax.apply(variables, x).shape)

    def loss(layer):
        return lambda variables, x: jnp.sum(jnp.tanh(layer.apply(variables, x)) * weights)

    theirs = jax.jit(jax.value_and_grad(loss(flax), argnums=(0, 1)))(variables, x)
    found = jax.jit(jax.value_and_grad(loss(ours), argnums=(0, 1)))(variables, x)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE), found, theirs
    )


@ONE_CPU
@pytest.mark.parametrize("name", layers(nn))
def test_no_gradient_contracts_the_rows_of_both(name):
    """XLA's CPU compiler is slow at x.T @ dy, which contracts the first axis of both."""
    x = jnp.ones((4, 6, 2, 10))
    layer = layers(dense)[name]
    variables = layer.init(jax.random.key(0), x)
    gradient = jax.grad(lambda variables: jnp.sum(layer.apply(variables, x) ** 2))
    text = jax.jit(gradient).lower(variables).as_text()
    assert "contracting_dims = [1] x [0]" in text
    assert "contracting_dims = [0] x [0]" not in text


def programs(module, dtype):
    """Return the traced program of a layer's gradient."""
    x = jnp.ones((4, 6), dtype)
    layer = module.Dense(8, dtype=dtype)
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    gradient = jax.grad(lambda variables, x: jnp.sum(layer.apply(variables, x)))
    return str(jax.make_jaxpr(gradient)(variables, x))


def test_accelerators_get_the_program_of_flax():
    with machine.assume_accelerators():
        assert programs(dense, jnp.float32) == programs(nn, jnp.float32)
    assert programs(dense, jnp.bfloat16) == programs(nn, jnp.bfloat16)


@ONE_CPU
def test_one_cpu_gets_another_program():
    assert programs(dense, jnp.float32) != programs(nn, jnp.float32)
