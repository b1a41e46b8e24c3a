"""CAPI's ViT: places of registers, dropped paths, size, equivalent ways to compute it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from maskmim.models.layers.compute import compute
from maskmim.models.layers.rotary import RotaryError
from maskmim.models.rotary_vit import constant_drop_path_factors, visible_coordinates, vit_rotary
from maskmim.models.vit import ModelError
from maskmim.training.sharding import AXES, transformer, tree_shardings
from maskmim.tree_paths import named_leaves
from maskmim.types import Randomness, Spec
from tests.golden.capi import case
from tests.tolerances import REORDERED

SPEC = Spec((32, 32), 3, (0.5,) * 3, (0.25,) * 3)
tiny = partial(vit_rotary, variant="2x16x2", patch=(8, 8), registers=4, decoder_depth=2)


def test_registers_lie_around_what_is_visible():
    """Rectangles of 2 x 3 of 4 x 4 tokens; the fourth has rows at the top and the bottom."""
    visible = jnp.asarray(case.mask().visible)
    coordinates = visible_coordinates(case.GRID, visible, len(visible), 4)
    assert coordinates.shape == (6, 4 + 6, 2)
    corners = [(0, 0), (1, 0), (1, 1), (0, 1)]
    np.testing.assert_allclose(coordinates[0, :4], np.array(corners) * (1 / 3, 2 / 3), atol=1e-6)
    np.testing.assert_allclose(coordinates[3, :4], np.array(corners) * (1, 2 / 3), atol=1e-6)
    without_mask = visible_coordinates(case.GRID, None, 2, 4)
    np.testing.assert_allclose(without_mask[:, :4], [corners, corners], atol=1e-6)
    assert without_mask.shape == (2, 4 + 16, 2)


def test_every_block_drops_paths_at_the_same_rate():
    randomness = Randomness.of(jax.random.key(0), 400)
    keep = np.asarray(constant_drop_path_factors(randomness, depth=5, rate=0.2))
    assert keep.shape == (5, 400, 2) and set(np.unique(keep)) == {0.0, np.float32(1 / 0.8)}
    np.testing.assert_allclose((keep == 0).mean(axis=(1, 2)), 0.2, atol=0.05)
    assert constant_drop_path_factors(None, depth=5, rate=0.2) is None
    assert constant_drop_path_factors(randomness, depth=5, rate=0.0) is None


@pytest.fixture(scope="module")
def example():
    """Return (random params, pictures, mask) of two examples."""
    net = tiny(SPEC, heads={"clusters": 6})
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    params = jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), shapes)
    mask = jax.tree.map(lambda part: jnp.asarray(part[:2]), case.mask())
    return params, rng.integers(0, 256, (2, 32, 32, 3), np.uint8), mask


def predictions(example, **changes):
    params, pictures, mask = example
    net = tiny(SPEC, heads={"clusters": 6}, **changes)

    def run(params):
        encoded = net.encode(params, net.inputs({"image": pictures}), mask)
        return net.predict(params, encoded, mask)["clusters"]

    return jax.jit(run)(params)


def test_unrolled_blocks_are_the_same_and_bfloat16_is_near(example):
    exact = predictions(example)
    unrolled = predictions(example, compute=partial(compute, unroll=True))
    assert np.abs(exact - unrolled).max() <= REORDERED * np.abs(exact).max()
    coarse = predictions(example, compute=partial(compute, dtype="bfloat16"))
    assert coarse.dtype == jnp.float32
    assert 0 < np.abs(exact - coarse).max() < 0.1 * np.abs(exact).max()


def test_captures(example):
    params, pictures, mask = example
    net = tiny(SPEC, heads={"clusters": 6})

    def captured(*names):
        inputs = net.inputs({"image": pictures})
        return jax.eval_shape(lambda p: net.encode(p, inputs, mask, capture=names), params)

    captures = captured("layers", "attention", "embedded")
    shapes = tuple(part.shape for part in captures[:5])
    assert shapes == ((2, 4, 16), (2, 6, 16), (2, 2, 10, 16), (2, 2, 2, 10), (2, 10, 16))
    with pytest.raises(ModelError, match="cannot capture values: use embedded"):
        captured("layers", "values")


def test_shardings():
    shapes = jax.eval_shape(tiny(SPEC, heads={"clusters": 6}).init, jax.random.key(0))
    mesh = AbstractMesh((1, 2, 1, 2), AXES)
    places = dict(named_leaves(tree_shardings(shapes, transformer(), mesh)))
    for part in ("encoder", "decoder"):
        for name in ("query", "key", "value"):
            place = places[f"{part}/blocks/attention/{name}/kernel"]
            assert tuple(place.spec) == (None, "fsdp", "tensor", None)
        assert places[f"{part}/blocks/mlp/up/kernel"].spec[1:] == ("fsdp", "tensor")


def test_clips_are_refused():
    clip = Spec((4, 32, 32), 3, (0.5,) * 3, (0.25,) * 3, "video")
    net = tiny(clip, patch=(2, 8, 8))
    with pytest.raises(RotaryError, match="rows, columns"):
        jax.eval_shape(net.init, jax.random.key(0))


@pytest.mark.proves(64, "ViT-L/14 has the official parameters and FLOPs of a forward pass")
def test_the_size_of_the_published_model():
    """302 M parameters and 1.70e11 FLOPs at 224 px by the official README."""
    net = vit_rotary(Spec((224, 224), 3, (0.5,), (0.5,)), compute=partial(compute, unroll=True))
    params = jax.eval_shape(net.init, jax.random.key(0))
    count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params["encoder"]))
    assert count == pytest.approx(302e6, rel=0.005)
    inputs = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    encode = jax.jit(lambda params, inputs: net.encode(params, inputs, None).tokens)
    flops = encode.lower(params, inputs).cost_analysis()["flops"]
    print(f"{count / 1e6:.1f} M parameters, {flops:.4g} FLOPs")
    assert flops == pytest.approx(1.70e11, rel=0.05)
