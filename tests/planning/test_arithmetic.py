"""FLOPs of products against arithmetic by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from maskmim.config.load import load
from maskmim.planning import cost
from maskmim.planning.arithmetic import matrix_flops
from maskmim.training.build import assemble

X, W = jnp.zeros((4, 8)), jnp.zeros((8, 16))
PRODUCT = 2 * 4 * 8 * 16


def counted(function, *arguments):
    return matrix_flops(jax.make_jaxpr(function)(*arguments).jaxpr)


def test_products_of_every_shape():
    assert counted(jnp.dot, X, W) == PRODUCT
    assert counted(jnp.tanh, X) == 0
    assert counted(lambda a, b: jnp.einsum("bij,bkj->bik", a, b), jnp.zeros((3, 4, 5)),
                   jnp.zeros((3, 6, 5))) == 2 * 3 * 4 * 5 * 6  # fmt: skip


def test_a_convolution():
    image, kernel = jnp.zeros((2, 8, 8, 3)), jnp.zeros((3, 3, 3, 5))

    def convolve(image, kernel):
        return lax.conv_general_dilated(
            image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    assert counted(convolve, image, kernel) == 2 * (2 * 8 * 8 * 5) * (3 * 3 * 3)


def test_loops_branches_and_functions_inside():
    def layer(x, w):
        return jnp.tanh(x @ w), None

    square = jnp.zeros((6, 8, 8))
    assert counted(lambda x, w: lax.scan(layer, x, w)[0], X, square) == 6 * 2 * 4 * 8 * 8
    assert counted(jax.jit(jnp.dot), X, W) == PRODUCT

    def either(x, w):
        return lax.cond(x[0, 0] > 0, lambda: x @ w + 1, lambda: (x @ w) @ jnp.zeros((16, 16)))

    assert counted(either, X, W) == PRODUCT + 2 * 4 * 16 * 16


def test_gradients_and_what_is_computed_again():
    def loss(w, x):
        return jnp.sum(jnp.sin(x @ w) ** 2)

    assert counted(jax.grad(loss), W, X) == 2 * PRODUCT  # forward, and towards w
    again = jax.grad(jax.checkpoint(loss, policy=jax.checkpoint_policies.nothing_saveable))
    assert counted(again, W, X) == 3 * PRODUCT


def test_products_of_vit_s_agree_with_xla_and_with_the_sizes():
    config = load("configs/mae.py:variant=S/16", ["model.compute.remat=full"])
    parts = assemble(config, 1000)
    found = cost.product_flops_per_example(config, parts, examples=2)
    # Dense layers and attention, forward and twice backward; see also test_cost.
    encoder = 12 * (50 * 12 * 384**2 + 2 * 50**2 * 384)
    decoder = 8 * (197 * 12 * 512**2 + 2 * 197**2 * 512)
    ends = 49 * 768 * 384 + 50 * 384 * 512 + 147 * 512 * 768
    first = 12 * 50 * 384 + 8 * 197 * 512  # attention of the first token, which nobody asks for
    by_hand = 3 * 2 * (encoder + decoder + ends + first)
    assert found == pytest.approx(by_hand, rel=0.02)
    repeated = cost.product_flops_per_example(config, parts, repeats=True, examples=2)
    # Of a block all but its last product, whose result the backward pass does not need.
    again = 12 * (50 * 8 * 384**2 + 2 * 50**2 * 384) + 8 * (197 * 8 * 512**2 + 2 * 197**2 * 512)
    assert repeated - found == pytest.approx(2 * again, rel=0.02)
