"""BEiT's ViT: initialisation, captures, equivalent ways to compute it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.models.layers.compute import compute
from maskmim.models.relative_vit import relative_vit_in_place
from maskmim.models.vit import ModelError
from maskmim.tree_paths import named_leaves
from maskmim.types import Randomness, Spec
from tests.compiling import quick_jit
from tests.tolerances import REORDERED

SPEC = Spec((16, 24), 3, (0.5,) * 3, (0.25,) * 3)


def tiny(**changes):
    return relative_vit_in_place(SPEC, **{"variant": "4x32x2", "patch": (8, 8), **changes})


def test_initialisation_is_as_published():
    net = tiny(variant="4x64x2")
    params = dict(named_leaves(quick_jit(net.init)(jax.random.key(0))))
    blocks = "encoder/blocks"
    for name, divisor in {
        "attention/qkv": 1.0,
        "attention/out": np.sqrt(2 * np.arange(1, 5)),
        "mlp/up": 1.0,
        "mlp/down": np.sqrt(2 * np.arange(1, 5)),
    }.items():
        kernel = params[f"{blocks}/{name}/kernel"]
        spread = jnp.std(kernel.reshape(4, -1), axis=1) * divisor
        np.testing.assert_allclose(spread, 0.02, rtol=0.08)
    np.testing.assert_allclose(jnp.std(params["encoder/embed/kernel"]), 0.02, rtol=0.08)
    assert float(jnp.abs(params["encoder/mask_token"]).max()) <= 0.02
    assert not params["encoder/relative_bias"].any()
    np.testing.assert_array_equal(params[f"{blocks}/scale1/scale"], np.float32(0.1))
    bound = 1 / np.sqrt(64)
    assert 0.95 * bound < float(jnp.abs(params["decoder/head_pixels/kernel"]).max()) <= bound
    assert not any(leaf.any() for name, leaf in params.items() if name.endswith("bias"))


def test_captures_unrolling_rematerialising_and_dropping():
    nets = [tiny(), tiny(compute=partial(compute, unroll=True, remat="full")), tiny(drop_path=0.0)]
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(nets[0].init, jax.random.key(0))
    params = jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), shapes)
    inputs = rng.normal(size=(2, *SPEC.size, 3)).astype(np.float32)
    everything = ("layers", "attention", "embedded")
    randomness = Randomness.of(jax.random.key(0), 2)

    def run(net, randomness=None):
        encode = quick_jit(
            lambda p: net.encode(p, inputs, None, capture=everything, randomness=randomness)
        )
        return encode(params)

    plain, unrolled = run(nets[0]), run(nets[1])
    for one, other in zip(plain[:5], unrolled[:5], strict=True):
        assert float(jnp.abs(one - other).max()) <= REORDERED * float(jnp.abs(one).max())
    assert plain.embedded.shape == (2, 7, 32) and plain.layers.shape == (4, 2, 7, 32)
    np.testing.assert_allclose(plain.attention.sum(-1), np.ones((4, 2, 2)), rtol=1e-5)
    np.testing.assert_array_equal(run(nets[2], randomness).tokens, plain.tokens)


def test_errors_name_what_does_not_fit():
    with pytest.raises(ModelError, match="unknown remat policy 'some'"):
        tiny(compute=partial(compute, remat="some"))
    net = tiny()
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    with pytest.raises(ModelError, match="cannot capture queries: use embedded"):
        jax.eval_shape(
            lambda p: net.encode(p, jnp.zeros((1, *SPEC.size, 3)), None, capture=("queries",)),
            shapes,
        )
