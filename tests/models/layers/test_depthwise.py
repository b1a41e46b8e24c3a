"""Both forms of a depth-wise convolution give the same numbers and gradients, as flax's layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from maskmim.models.layers.depthwise import DepthwiseConv, grouped_convolution, shifted_products
from tests.compiling import quick_jit
from tests.tolerances import REORDERED


@pytest.mark.parametrize("side", [3, 5])
def test_both_forms_are_equal(side):
    rng = np.random.default_rng(0)
    x, gradient = rng.normal(size=(2, 2, 6, 4, 3)).astype(np.float32)
    kernel = rng.normal(size=(side, side, 1, 3)).astype(np.float32)

    def both(convolve):
        result, back = jax.vjp(convolve, x, kernel)
        return result, *back(gradient)

    forms = shifted_products, grouped_convolution
    ours, theirs = (quick_jit(lambda f=f: both(f))() for f in forms)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=REORDERED * np.abs(other).max())


def test_the_layer_is_flax_with_groups():
    x = np.random.default_rng(0).normal(size=(1, 5, 4, 6)).astype(np.float32)
    ours = DepthwiseConv(5, nn.initializers.normal(), jnp.float32)
    theirs = nn.Conv(6, (5, 5), feature_group_count=6)
    params = theirs.init(jax.random.key(0), x)
    params["params"]["bias"] += 1.0
    shapes = jax.eval_shape(ours.init, jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)
    expected = theirs.apply(params, x)
    np.testing.assert_allclose(
        ours.apply(params, x), expected, atol=REORDERED * np.abs(expected).max()
    )
