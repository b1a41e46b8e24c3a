"""ConvMAE: the official model's numbers, and convolutions that read no hidden cell at any stage."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from maskmim.config.load import load
from maskmim.interop.layout import arrays_of
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_scores, split_counts
from maskmim.models.convmae import MaskedConvBlock, convmae, convmae_variant, rules
from maskmim.models.layers.compute import compute
from maskmim.models.layers.errors import ModelError
from maskmim.objectives.matching import match
from maskmim.targets.pixels import normalised_patches
from maskmim.training.build import build_method
from maskmim.training.sharding import AXES, tree_shardings
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Mean, Spec, View
from tests.comparing import close
from tests.golden.convmae import case
from tests.golden.official_weights import params_by_name
from tests.tolerances import PARITY

pytestmark = pytest.mark.full


def build(**changes):
    """Return the case's network."""
    parts = case.WIDTHS, case.DEPTHS, (case.HEADS,)
    depth, width, heads = case.DECODER
    chosen = {
        "variant": "x".join("-".join(map(str, part)) for part in parts),
        "patch": (case.PATCH, case.PATCH),
        "decoder_depth": depth,
        "decoder_width": width,
        "decoder_heads": heads,
    }
    spec = Spec((case.IMAGE, case.IMAGE), 3, (0.0,) * 3, (1.0,) * 3)
    return convmae(spec, **{**chosen, **changes})


net = cache(build)


@cache
def official():
    """Return the case's params, and {official name: shape}."""
    ours = jax.eval_shape(net().init, jax.random.key(0))
    return params_by_name(case.layout(), ours, case.weight)


def mask_of():
    """Return the official mask of the case."""
    return from_scores(-jnp.asarray(case.noise()), ratio=case.RATIO)


@cache
def run_back():
    """Return the jitted ((loss, (Encoded, predictions)), gradients) of params and pictures."""
    network, mask = net(), mask_of()
    objective = match(head="pixels", target=normalised_patches, loss=squared_error)

    def run(params, pictures):
        batch = {"image": pictures}
        inputs = network.inputs(batch)
        encoded = network.encode(params, inputs, mask)
        outputs = network.predict(params, encoded, mask)
        view = View(network, Context(batch, network.grids, {}), inputs, mask, encoded, outputs, {})
        per_token, weight, _, _ = objective.find(view)
        loss = Mean(jnp.sum(per_token * weight), jnp.sum(weight)).value
        return loss, (encoded, outputs["pixels"])

    return jax.jit(jax.value_and_grad(run, has_aux=True))


def pictures():
    """Return the case's pictures, channels last."""
    return case.pictures().transpose(0, 2, 3, 1)


def changed(hidden):
    """Return the case's pictures with other values in the hidden, or else the visible, tokens."""
    values, where = net().patchify(pictures()), mask_of().hidden[..., None] == hidden
    return net().restore(jnp.where(where, 3 - 2 * values, values))


@pytest.mark.proves(18, "predictions, loss and all gradients equal the official model's")
def test_equals_the_official_model():
    golden = np.load(case.GOLDEN)
    params, theirs = official()
    (loss, (_, predictions)), gradients = run_back()(params, pictures())
    np.testing.assert_array_equal(mask_of().visible, np.sort(golden["visible"]))
    close(predictions, golden["predictions"], PARITY, "predictions")
    close(loss, golden["loss"], PARITY, "loss")
    ends = np.cumsum([np.prod(shape) for shape in theirs.values()])
    ours = arrays_of(case.layout(), gradients)
    expected = np.split(golden["gradients"], ends[:-1])
    for (name, shape), gradient in zip(theirs.items(), expected, strict=True):
        close(ours[name], gradient.reshape(shape), PARITY, name)
        assert np.any(ours[name]), name


@pytest.mark.proves(18, "without a mask the features equal the official encoder of fine-tuning")
def test_equals_the_official_encoder_of_fine_tuning():
    encode = jax.jit(lambda params: net().encode(params, pictures(), None, capture=("stages",)))
    encoded = encode(official()[0])
    close(encoded.tokens.mean(axis=1), np.load(case.GOLDEN)["pooled"], PARITY, "pooled")
    sides = [stage.shape[1:] for stage in encoded.stages]
    assert sides == [(56, 56, 4), (28, 28, 6), (14, 14, 8)]
    assert encoded.prefix.shape == (case.EXAMPLES, 0, 8)


@pytest.mark.proves(18, "hidden pixels change no visible token, of any stage, bit for bit")
def test_hidden_pixels_change_no_visible_token():
    params, _ = official()
    _, (encoded, predictions) = run_back()(params, pictures())[0]
    _, (other, same) = run_back()(params, changed(True))[0]
    np.testing.assert_array_equal(encoded.tokens, other.tokens)
    np.testing.assert_array_equal(predictions, same)
    hidden = np.asarray(mask_of().hidden).reshape(-1, case.GRID, case.GRID)
    for first, second, times in zip(encoded.stages, other.stages, (4, 2), strict=True):
        finer = hidden.repeat(times, 1).repeat(times, 2)
        np.testing.assert_array_equal(np.asarray(first)[~finer], np.asarray(second)[~finer])
        assert not np.array_equal(np.asarray(first)[finer], np.asarray(second)[finer])
    moved, _ = run_back()(params, changed(False))[0][1]
    assert np.abs(np.asarray(moved.tokens - encoded.tokens)).max() > 0.1


@pytest.mark.proves(18, "a convolution without the mask reads hidden cells beyond its token's edge")
def test_without_the_mask_a_block_leaks():
    """The same block, masked and not: the mask, and nothing else, keeps hidden cells out."""
    rng = np.random.default_rng(0)
    block = MaskedConvBlock(jnp.float32)
    x = rng.normal(size=(1, 8, 8, 3)).astype(np.float32)
    seen = np.zeros((1, 8, 8, 1), np.float32)
    seen[:, :4] = 1
    other = np.where(seen > 0, x, 3 - 2 * x)
    params = block.init(jax.random.key(0), x, None)

    def rows_that_change(mask):
        first, second = (np.asarray(block.apply(params, each, mask)[0]) for each in (x, other))
        return list(np.flatnonzero(np.any(first != second, axis=(0, 2, 3))))

    assert rows_that_change(seen) == [4, 5, 6, 7]
    assert rows_that_change(None) == [2, 3, 4, 5, 6, 7]


def test_hidden_pixels_get_no_gradient():
    """Of what the decoder predicts; the target of the loss is made of them."""
    params, mask = official()[0], mask_of()

    def loss(inputs):
        return jnp.sum(net().predict(params, net().encode(params, inputs, mask), mask)["pixels"])

    gradient = net().patchify(jax.jit(jax.grad(loss))(pictures()))
    reached = np.asarray(jnp.any(gradient != 0, axis=-1))
    np.testing.assert_array_equal(reached, ~np.asarray(mask.hidden))


def test_unrolled_and_recomputed_blocks_give_the_same_predictions():
    other, mask = build(compute=partial(compute, unroll=True, remat="full")), mask_of()
    params = official()[0]
    predict = jax.jit(
        lambda params: other.predict(params, other.encode(params, pictures(), mask), mask)
    )
    expected = run_back()(params, pictures())[0][1][1]
    close(predict(params)["pixels"], expected, PARITY, "predictions")


def test_the_published_model_and_mask():
    config = load("convmae")
    assert (config.train.batch_size, config.optim.lr, config.optim.lr_per) == (3072, 1.5e-4, 256)
    assert (config.train.epochs, config.schedule.warmup_epochs) == (1600, 40)
    _, method = build_method(config)
    assert (method.net.grids, method.net.width) == ({"image": (14, 14)}, 768)
    assert split_counts(196, config.mask.ratio) == (49, 147)
    params = jax.eval_shape(method.net.init, jax.random.key(0))
    learnt = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert learnt == np.load(case.GOLDEN)["parameters"]
    places = dict(named_leaves(tree_shardings(params, rules(), AbstractMesh((2, 4, 1, 2), AXES))))
    block = {path: place.spec for path, place in places.items() if "stage0_blocks" in path}
    assert tuple(block["encoder/stage0_blocks/enter/kernel"]) == (None, "fsdp", "tensor")
    assert tuple(block["encoder/stage0_blocks/down/kernel"]) == (None, "tensor", "fsdp")
    assert block["encoder/stage0_blocks/depthwise/kernel"][4] == "fsdp"
    assert not [path for path, spec in block.items() if len(spec) and spec[0]]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("L", "unknown ConvMAE variant 'L': use one of B, or widths x depths x heads"),
        ("4-6x1-1-1x2", "unknown ConvMAE variant"),
        ("4-6-8x1-1-1x3", "3 heads do not divide the width 8"),
    ],
)
def test_an_impossible_variant_is_refused(name, words):
    with pytest.raises(ModelError, match=words):
        convmae_variant(name)
