"""Several streams through one encoder: their order, what enters, what plays no part, refusals."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_hidden
from maskmim.masks.uniform import random
from maskmim.methods.masked import masked
from maskmim.models.layers.compute import compute
from maskmim.models.layers.errors import ModelError
from maskmim.models.multimae import multimae
from maskmim.models.streams import stream_net
from maskmim.objectives.in_stream import in_stream
from maskmim.objectives.matching import match
from maskmim.targets.pixels import patches
from maskmim.tree_paths import named_leaves
from maskmim.types import Randomness, Spec
from tests.tolerances import REORDERED

pytestmark = pytest.mark.full

SPEC = Spec(
    (16, 8),
    3,
    (0.5, 0.4, 0.3),
    (0.2, 0.25, 0.3),
    streams={
        "map": Spec((8, 4), 1, (), (), "map", "uint8", classes=300),
        "depth": Spec((16, 8), 1, (0.5,), (0.25,), "depth"),
        "band": Spec((8, 4), 2, (0.0, 1.0), (1.0, 2.0), "band", "float32"),
    },
)
PIXELS = partial(match, head="pixels", target=patches, loss=squared_error)
HEADS = {"pixels": "image", "again": "image", "map": "map", "band": "band"}


def build(spec=SPEC, **changes):
    keywords = {
        "heads": HEADS,
        "variant": "2x16x2",
        "patch": (4, 4),
        "class_width": 3,
        "standardised": ("depth",),
        "decoder_depth": 1,
        "decoder_width": 8,
        "decoder_heads": 2,
    }
    return multimae(spec, **{**keywords, **changes})


def batch(count=2, seed=0):
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, one in SPEC.arrays.items():
        shape = (count, *one.shape)
        amounts = one.dtype == "float32"
        values = rng.standard_normal(shape) if amounts else rng.integers(0, 256, shape)
        arrays[name] = values.astype(one.dtype)
    return arrays


@cache
def example():
    """Return (net, random params, mask with 10 of 32 tokens visible)."""
    net = build()
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), shapes)
    hidden = np.stack([rng.permutation(32) >= 10 for _ in range(2)])
    return net, params, from_hidden(jnp.asarray(hidden), count=22)


@cache
def functions():
    """Return the jitted encoder without a mask, and the predictions with one."""
    net, _, mask = example()

    def predict(params, inputs):
        return net.predict(params, net.encode(params, inputs, mask), mask)

    return jax.jit(lambda params, inputs: net.encode(params, inputs, None)), jax.jit(predict)


def test_streams_stand_in_the_order_of_the_spec():
    net, params, _ = example()
    assert list(net.grids) == ["image", "band", "depth", "map"] == list(SPEC.arrays)
    assert set(net.grids.values()) == {(4, 2)}
    _, predict = functions()
    outputs = predict(params, net.inputs(batch()))
    shapes = {head: array.shape for head, array in outputs.items()}
    assert shapes["pixels"] == shapes["again"] == (2, 8, 48)
    assert shapes["map"] == (2, 8, 4 * 300) and shapes["band"] == (2, 8, 8)
    assert all(array.dtype == jnp.float32 for array in outputs.values())
    assert not np.array_equal(outputs["pixels"], outputs["again"])


def test_patches_and_pictures_of_every_stream():
    net, _, _ = example()
    arrays = batch()
    inputs = net.inputs(arrays)
    back = net.restore(net.patchify(inputs))
    for name in SPEC.arrays:
        np.testing.assert_array_equal(back[name], inputs[name])
        shown = net.display({name: inputs[name]})[name]
        assert shown.dtype == jnp.uint8 and shown.shape == arrays[name].shape
    assert inputs["map"].dtype == jnp.int32
    np.testing.assert_array_equal(net.display(inputs)["map"], arrays["map"])
    np.testing.assert_array_equal(net.display(inputs)["image"], arrays["image"])
    np.testing.assert_allclose(inputs["band"], (arrays["band"] - [0, 1]) / [1, 2], rtol=1e-6)
    assert abs(float(jnp.median(inputs["depth"]))) < 0.3  # standardised by example


def test_one_stream_is_a_network_of_its_own():
    net, params, _ = example()
    arrays, encode = batch(), functions()[0]
    for name in SPEC.arrays:
        one = stream_net(net, name)
        inputs = one.inputs(arrays)
        assert one.grids == {name: (4, 2)}
        np.testing.assert_array_equal(inputs, net.inputs(arrays)[name])
        np.testing.assert_array_equal(one.restore(one.patchify(inputs)), inputs)
        np.testing.assert_array_equal(one.display(inputs), net.display({name: inputs})[name])
    alone = jax.jit(lambda params, inputs: stream_net(net, "depth").encode(params, inputs, None))
    inputs = net.inputs({"depth": arrays["depth"]})
    np.testing.assert_array_equal(
        alone(params, inputs["depth"]).tokens, encode(params, inputs).tokens
    )
    with pytest.raises(ModelError, match="no stream 'sound'"):
        stream_net(net, "sound")


def test_a_single_stream_needs_no_mapping():
    spec = SPEC._replace(streams={})
    method = masked(
        spec,
        model=partial(build, heads={"pixels": "image"}, standardised=()),
        mask=partial(random, ratio=0.75),
        objectives={"pixels": partial(in_stream, stream="image", of=PIXELS, per_example=True)},
        teachers={},
    )
    net, arrays = method.net, {"image": batch()["image"]}
    assert net.grids == {"image": (4, 2)} and net.inputs(arrays).shape == (2, 16, 8, 3)
    drawn = Randomness.of(jax.random.key(0), 2)
    variables = method.variables(jax.random.key(1))
    loss = jax.eval_shape(lambda: method.loss(variables, arrays, drawn, jnp.float32(0.0)))
    assert set(loss.terms) == {"pixels"}
    found = jax.eval_shape(lambda: method.apply["reconstruct"](variables, arrays, drawn))
    assert set(found) == {"mask", "inputs", "target", "prediction", "pixels"}
    assert found["pixels"].shape == (2, 8, 48) == (*found["mask"].predict.shape, 48)


def test_streams_that_a_batch_lacks_do_not_enter():
    """A part of the streams gives the tokens that a mask showing these alone gives."""
    net, params, _ = example()
    arrays, encode = batch(), functions()[0]
    some = {name: arrays[name] for name in ("map", "image")}
    found = encode(params, net.inputs(some))
    assert found.tokens.shape == (2, 16, 16) and found.prefix.shape == (2, 1, 16)
    hidden = np.zeros((2, 32), bool)
    hidden[:, 8:24] = True
    mask = from_hidden(jnp.asarray(hidden), count=16)
    masked = jax.jit(net.encode)(params, net.inputs(arrays), mask)
    for ours, other in ((found.tokens, masked.tokens), (found.prefix, masked.prefix)):
        np.testing.assert_allclose(ours, other, rtol=0, atol=REORDERED * np.abs(other).max())


@pytest.mark.proves(60, "the content of hidden tokens plays no part, that of each visible one does")
def test_visible_tokens_of_any_stream_matter_and_hidden_ones_do_not():
    net, params, mask = example()
    _, predict = functions()
    inputs = net.inputs(batch())
    before = predict(params, inputs)
    cut = net.patchify(inputs)
    hidden = np.split(np.asarray(mask.hidden), 4, axis=1)
    for (name, values), rows in zip(cut.items(), hidden, strict=True):
        change = 1 if name == "map" else 0.5
        for which, same in ((rows, True), (~rows, False)):
            other = np.where(which[..., None], values + change, values)
            changed = {**inputs, **net.restore({name: jnp.asarray(other, values.dtype)})}
            after = predict(params, changed)
            for head in HEADS:
                assert np.array_equal(before[head], after[head]) == same, (name, head, same)


def test_what_is_captured():
    net, params, mask = example()
    capture = ("embedded", "layers", "attention")
    run = jax.jit(partial(net.encode, capture=capture))
    found = run(params, net.inputs(batch()), mask)
    assert found.layers.shape == (2, 2, 11, 16) and found.attention.shape == (2, 2, 2, 11)
    last = np.asarray(found.layers[-1])  # no norm follows the last block
    np.testing.assert_array_equal(last[:, :1], found.prefix)
    np.testing.assert_array_equal(last[:, 1:], found.tokens)
    np.testing.assert_allclose(found.attention.sum(axis=-1), 1, rtol=1e-5)


def test_bfloat16_but_for_the_heads_that_need_float32():
    _, params, mask = example()
    inputs = example()[0].inputs(batch())
    expected = functions()[1](params, inputs)
    coarse = build(compute=partial(compute, dtype="bfloat16"), float32_heads=("map",))
    encoded = jax.tree.map(
        lambda x: None if x is None else x.astype(jnp.float32),
        example()[0].encode(params, inputs, mask),
    )
    found = coarse.predict(params, encoded, mask)
    apart = {head: np.abs(found[head] - expected[head]).max() for head in HEADS}
    sizes = {head: np.abs(expected[head]).max() for head in HEADS}
    assert apart["map"] < REORDERED * sizes["map"]
    assert all(1e-4 * sizes[head] < apart[head] < 0.1 * sizes[head] for head in ("pixels", "band"))


def test_initialisation():
    """Queries, keys and values are drawn as three maps; tokens are N(0, 0.02), a mask token 0."""
    params = jax.jit(build(variant="2x64x2", decoder_width=32).init)(jax.random.key(0))
    for path, leaf in named_leaves(params):
        if path.endswith("qkv/kernel"):
            bound = np.sqrt(6 / (2 * leaf.shape[1]))
            assert 0.97 * bound < np.abs(leaf).max() <= bound, path
        elif path.endswith("mask_token") or path.endswith("bias"):
            assert not np.any(leaf), path
        elif path.endswith("embedding"):
            assert np.std(leaf) == pytest.approx(0.02, rel=0.15), path


def test_no_global_token():
    net = build(global_tokens=0, heads={"pixels": "image"})
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    assert all(leaf.size for _, leaf in named_leaves(shapes))
    assert "global_token" not in shapes["encoder"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": {}}, "there are no heads"),
        ({"heads": {"sound": "audio"}}, "no stream 'audio' for a head: an example has image, band"),
        ({"standardised": ("sound",)}, "no stream 'sound' to standardise"),
        ({"standardised": ("map",)}, "map has indices of classes"),
        ({"float32_heads": ("depth",)}, "float32_heads has depth, which are no heads"),
        ({"patch": (5, 4)}, "16x8 do not divide into patches of 5x4"),
        ({"patch": (1, 1)}, "the stream .* of 8x4 does not divide into 16x8 tokens"),
        ({"decoder_heads": 3}, "3 heads do not divide the width 8"),
    ],
)
def test_impossible_settings_are_refused(changes, words):
    with pytest.raises(ModelError, match=words):
        build(**changes)


def test_wrong_batches_are_refused():
    net, params, mask = example()
    arrays = batch()
    with pytest.raises(ModelError, match=r"for the streams image, band, depth, map, but .* sound"):
        net.inputs({"sound": arrays["image"]})
    for name in ("image", "map"):
        with pytest.raises(ModelError, match=f"{name} inputs of shape"):
            net.inputs({name: arrays[name][:, :-1]})
    with pytest.raises(ModelError, match="the inputs lack depth"):
        some = {name: array for name, array in arrays.items() if name != "depth"}
        net.encode(params, net.inputs(some), mask)
