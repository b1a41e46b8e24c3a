"""CrossMAE: predictions independent of each other, read from every layer, and cheap."""

from functools import partial
from itertools import combinations
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh

from maskmim.assemble import build_method
from maskmim.configuration import load
from maskmim.interop.layout import arrays_of, params_of, shapes_of
from maskmim.losses import squared_error
from maskmim.masks.core import from_scores
from maskmim.masks.roles import partly_predicted
from maskmim.masks.uniform import random
from maskmim.method import masked
from maskmim.models.crossmae import sharding_rules, vit_crossmae
from maskmim.models.masked_vit import vit_mae
from maskmim.objectives import match
from maskmim.paths import named_leaves
from maskmim.sharding import AXES, tree_shardings
from maskmim.step import initial_state, make_train_step
from maskmim.targets.pixels import normalised_patches, patches
from maskmim.types import Context, Encoded, Mask, Mean, Randomness, Spec, View
from tests.golden import crossmae_case as case
from tests.tiny import SPEC, pictures
from tests.tolerances import PARITY, REORDERED, SIGNIFICANCE

TOKENS = 12


def model(**changes):
    """A brick: spec -> Net with a grid of 4x3 tokens, three encoder and two decoder blocks."""
    chosen = {"variant": "3x16x2", "patch": (8, 8), "decoder_depth": 2, "decoder_width": 16}
    return partial(vit_crossmae, **{**chosen, "decoder_heads": 2, **changes})


def composed(share, target=normalised_patches, **changes):
    """CrossMAE's composition: a share of the 9 hidden tokens is predicted."""
    return masked(
        SPEC,
        model=model(**changes),
        mask=partial(partly_predicted, sampler=partial(random, ratio=0.75), share=share),
        objectives={"pixels": partial(match, head="pixels", target=target, loss=squared_error)},
        teachers={},
    )


def random_params(net, seed=0):
    """Random numbers everywhere, in biases and norms too."""
    shapes = jax.eval_shape(net.init, jax.random.key(seed))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), shapes)


def drawn_mask(examples):
    scores = jax.random.uniform(jax.random.key(3), (examples, TOKENS))
    return from_scores(scores, ratio=0.75)


def encoded_and_mask(net, params, examples=3):
    mask = drawn_mask(examples)
    inputs = net.inputs({"image": pictures(examples)})
    return jax.jit(net.encode)(params, inputs, mask), mask


@pytest.mark.proves(8, "a token's prediction is bit-identical whichever others are predicted")
def test_predictions_are_independent_of_each_other():
    net = model()(SPEC)
    params = random_params(net)
    encoded, mask = encoded_and_mask(net, params)
    predict = jax.jit(net.predict)
    whole = np.asarray(predict(params, encoded, mask)["pixels"])
    for chosen in ((0, 1, 2), (0, 7, 8), (4, 5, 8), (0, 3, 6), (2,), tuple(range(8))):
        places = np.array(chosen)
        part = mask._replace(predict=mask.predict[:, places], weight=mask.weight[:, places])
        found = predict(params, encoded, part)["pixels"]
        np.testing.assert_array_equal(found, whole[:, places], err_msg=str(chosen))
    assert len(np.unique(whole[..., 0])) == whole[..., 0].size


@pytest.mark.proves(8, "the loss on a part of the tokens is an unbiased estimate of the whole one")
def test_the_loss_on_a_part_estimates_the_whole_loss():
    """Over all parts of 3 of 9 tokens exactly, and with the sampler's parts without a bias.

    Pictures that grow brighter downwards make a token's loss depend on its place, so that a sampler
    that prefers some places is found out.
    """
    examples = 512
    whole, part = composed(1.0, target=patches), composed(1 / 3, target=patches)
    variables = whole.init(jax.random.key(0))
    bright = np.linspace(0, 255, 32).astype(np.uint8)[None, :, None, None]
    batch = {"image": np.broadcast_to(bright, (examples, 32, 24, 3))}
    randomness = Randomness.of(jax.random.key(1), examples)

    def errors(method):
        found = jax.jit(method.apply["reconstruct"])(variables, batch, randomness)
        return np.mean((found["prediction"] - found["target"]) ** 2, axis=-1), found["mask"]

    (all_errors, mask), (some, parted) = errors(whole), errors(part)
    assert all_errors.shape == (examples, 9) and some.shape == (examples, 3)
    np.testing.assert_array_equal(mask.visible, parted.visible)
    parts = np.array(list(combinations(range(9), 3)))
    every = all_errors[:, parts].mean(axis=(1, 2))
    np.testing.assert_allclose(every, all_errors.mean(axis=1), rtol=1e-5)
    off = some.mean(axis=1) - all_errors.mean(axis=1)
    assert off.std() > 0.1 * all_errors.mean()
    z = off.mean() / (off.std() / np.sqrt(examples))
    assert abs(z) < NormalDist().inv_cdf(1 - SIGNIFICANCE / 2), z
    losses = part.loss(variables, batch, randomness, jnp.float32(0))
    np.testing.assert_allclose(losses.terms["pixels"].value, some.mean(), rtol=1e-5)


@pytest.mark.proves(8, "gradients reach the encoder through every feature map, the embedding too")
def test_every_feature_map_is_read():
    net = model()(SPEC)
    params = random_params(net)
    encoded, mask = encoded_and_mask(net, params)

    def loss(encoded: Encoded):
        return jnp.sum(net.predict(params, encoded, mask)["pixels"] ** 2)

    found = jax.jit(jax.grad(loss))(encoded)
    assert found.layers.shape == (3, 3, 4, 16) and found.embedded.shape == (3, 4, 16)
    assert (np.abs(found.layers).max(axis=-1) > 0).all()  # each layer, class and visible tokens
    assert (np.abs(found.embedded).max(axis=-1) > 0).all()
    assert not np.any(found.tokens) and not np.any(found.prefix)  # after the last norm


def test_a_block_reads_its_own_mixture():
    """With weight on the embedding alone the encoder's blocks get no gradient."""
    method = composed(1 / 3)
    variables = method.init(jax.random.key(0))
    batch, randomness = {"image": pictures(4)}, Randomness.of(jax.random.key(0), 4)

    @jax.jit
    def gradient(mix):
        decoder = {**variables.params["decoder"], "mix": mix}

        def loss(encoder):
            changed = variables._replace(params={"encoder": encoder, "decoder": decoder})
            return method.loss(changed, batch, randomness, jnp.float32(0)).terms["pixels"].value

        return jax.grad(loss)(variables.params["encoder"])

    first = gradient(jnp.zeros((2, 4)).at[1, 0].set(1.0))
    assert np.any(first["embed"]["kernel"]) and np.any(first["class_token"])
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(first["stack"]))
    middle = gradient(jnp.zeros((2, 4)).at[0, 2].set(1.0))["stack"]["blocks"]["mlp"]["up"]["kernel"]
    assert [bool(np.any(layer)) for layer in middle] == [True, True, False]


def flops(net, params, encoded, mask):
    lowered = jax.jit(lambda *given: net.predict(*given)["pixels"]).lower(params, encoded, mask)
    return lowered.cost_analysis()["flops"]


@pytest.mark.proves(
    8, "decoder FLOPs 2.6 times below MAE's at ViT-B/16, 49 of 147 tokens predicted"
)
def test_decoder_flops():
    """XLA's count of a forward pass of the decoders alone, against arithmetic by hand."""
    spec = Spec((224, 224), 3, (0.5,), (0.5,))
    shape = jax.ShapeDtypeStruct

    def count(net, predicted):
        params = jax.eval_shape(net.init, jax.random.key(0))
        tokens = (shape((1, n), jnp.int32) for n in (49, predicted))
        mask = Mask(*tokens, shape((1, 196), bool), shape((1, predicted), jnp.float32))
        inputs = shape((1, 224, 224, 3), jnp.float32)
        return flops(net, params, jax.eval_shape(net.encode, params, inputs, mask), mask)

    cross = vit_crossmae(spec, unroll=True)
    part, every = count(cross, 49), count(cross, 147)
    mae = count(vit_mae(spec, unroll=True), 147)
    block = 49 * (2 * 512**2 + 8 * 512**2) + 50 * 768 * 1024 + 2 * 49 * 50 * 512
    mixing = 13 * 50 * 768
    by_hand = 2 * (12 * (block + mixing) + 49 * 512 * 768)
    print(f"GFLOP: MAE {mae / 1e9:.2f}, CrossMAE {part / 1e9:.2f}, all {every / 1e9:.2f}")
    assert part == pytest.approx(by_hand, rel=0.03)
    assert 2.5 < mae / part < 3.7
    assert 0.9 < mae / every < 1.1


@pytest.mark.proves(8, "predictions, loss and all gradients equal the official model's")
@pytest.mark.parametrize("kept", case.KEPT)
def test_equals_the_official_model(kept):
    golden = np.load(case.GOLDEN)
    depth, width, heads = case.ENCODER
    net = vit_crossmae(
        Spec((case.IMAGE, case.IMAGE), 3, (0.0,) * 3, (1.0,) * 3),
        variant=f"{depth}x{width}x{heads}",
        patch=(case.PATCH, case.PATCH),
        decoder_depth=case.DECODER[0],
        decoder_width=case.DECODER[1],
        decoder_heads=case.DECODER[2],
    )
    entries = case.layout()
    shapes = shapes_of(net)
    blank = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape), jax.eval_shape(net.init, jax.random.key(0))
    )
    unused = blank["encoder"]["norm"]
    theirs = {name: a.shape for name, a in arrays_of(entries, blank).items()}
    weights = {name: case.weight(name, given) for name, given in theirs.items()}
    read = {path: given for path, given in shapes.items() if not path.startswith("encoder/norm/")}
    params = params_of(entries, read, weights)
    params["encoder"]["norm"] = unused
    predict = jnp.asarray(golden[f"predict_{kept}"], jnp.int32)
    mask = from_scores(-jnp.asarray(case.noise()), ratio=case.RATIO)
    mask = mask._replace(predict=predict, weight=jnp.ones(predict.shape))
    objective = match(head="pixels", target=normalised_patches, loss=squared_error)

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def run(params):
        batch = {"image": case.pictures().transpose(0, 2, 3, 1)}
        inputs = net.inputs(batch)
        encoded = net.encode(params, inputs, mask)
        outputs = net.predict(params, encoded, mask)
        view = View(net, Context(batch, net.grids, {}), inputs, mask, encoded, outputs, {})
        per_token, weight, _, _ = objective.find(view)
        return Mean(jnp.sum(per_token * weight), jnp.sum(weight)).value, outputs["pixels"]

    (loss, predictions), gradients = run(params)
    np.testing.assert_allclose(loss, golden[f"loss_{kept}"], rtol=PARITY)
    close(predictions, golden[f"predictions_{kept}"], "predictions")
    if kept == case.KEPT[0]:
        ends = np.cumsum([np.prod(given) for given in theirs.values()])
        parts = np.split(golden["gradients"], ends[:-1])
        for (name, found), wanted in zip(arrays_of(entries, gradients).items(), parts, strict=True):
            close(found, wanted.reshape(theirs[name]), name)


def close(ours, theirs, name):
    off = np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()
    assert off <= PARITY, (name, off)


def test_initialisation():
    """The mixture N(0, 1 / maps), linear maps Xavier over what they read and give, token 0.02."""
    net = model(variant="3x64x2", decoder_depth=300, decoder_width=32)(SPEC)
    decoder = jax.jit(net.init)(jax.random.key(0))["decoder"]
    assert decoder["mix"].shape == (300, 4)
    assert np.std(decoder["mix"]) == pytest.approx(0.5, rel=0.1)
    assert np.abs(decoder["mix"]).max() > 1.2  # beyond any uniform distribution of that deviation
    read = decoder["blocks"]["attention"]
    for kernel, fans in ((read["kv"], 64 + 64), (read["query"], 64), (read["out"], 64)):
        bound = np.sqrt(6 / fans)
        assert 0.98 * bound < np.abs(kernel["kernel"]).max() <= bound
        assert not np.any(kernel["bias"])
    assert np.std(decoder["mask_token"]) == pytest.approx(0.02, rel=0.5)


def test_unrolled_blocks_and_remat_policies_give_the_same_gradients():
    batch, randomness = {"image": pictures(2)}, Randomness.of(jax.random.key(0), 2)
    params = random_params(model()(SPEC))

    def gradients(**changes):
        method = composed(1 / 3, **changes)
        variables = method.init(jax.random.key(0))

        def loss(params):
            changed = variables._replace(params=params)
            return method.loss(changed, batch, randomness, jnp.float32(0)).terms["pixels"].value

        return dict(named_leaves(jax.jit(jax.grad(loss))(params)))

    expected = gradients()
    for path, leaf in expected.items():
        assert np.any(leaf) != path.startswith("encoder/norm/"), path
    for changes in ({"unroll": True, "remat": "dots"}, {"remat": "full"}):
        for path, leaf in gradients(**changes).items():
            off = np.abs(leaf - expected[path]).max()
            assert off <= REORDERED * max(np.abs(expected[path]).max(), 1e-6), path


def test_bfloat16_computes_near_float32():
    exact, coarse = model()(SPEC), model(dtype="bfloat16")(SPEC)
    params = random_params(exact)
    encoded, mask = encoded_and_mask(exact, params)
    expected = exact.predict(params, encoded, mask)["pixels"]
    encoded, _ = encoded_and_mask(coarse, params)
    found = coarse.predict(params, encoded, mask)["pixels"]
    assert found.dtype == jnp.float32 and encoded.layers.dtype == jnp.bfloat16
    assert 0 < np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_a_few_steps_reduce_the_loss():
    method = composed(1 / 3)
    optimiser = optax.adam(3e-3)
    state, frozen = initial_state(method, optimiser, jax.random.key(0))
    step = jax.jit(make_train_step(method, optimiser, seed=0, total_steps=40))
    losses = []
    for _ in range(40):
        state, metrics = step(state, frozen, {"image": pictures(16)})
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:3])


@pytest.mark.parametrize(
    ("argument", "decoder", "lr", "predicted"),
    [
        ("", (12, 512, 16), 5e-5, 49),
        ("variant=S/16,predicted=0.75", (12, 256, 8), 1.5e-4, 147),
        ("variant=L/16", (12, 512, 16), 5e-5, 49),
        ("variant=H/14", (12, 512, 16), 5e-5, 64),
    ],
)
def test_the_published_recipe(argument, decoder, lr, predicted):
    config = load(f"configs/crossmae.py:{argument}".rstrip(":"))
    chosen = config.model
    assert (chosen.decoder_depth, chosen.decoder_width, chosen.decoder_heads) == decoder
    assert chosen.dtype == "bfloat16" and config.train.batch_size == 4096
    assert config.optim.lr == pytest.approx(lr)
    _, method = build_method(config)
    context = Context({}, method.net.grids, {})
    sampler = partial(
        partly_predicted, sampler=partial(random, ratio=0.75), share=config.mask.share
    )
    mask = jax.eval_shape(sampler, Randomness.of(jax.random.key(0), 2), context)
    assert mask.predict.shape == (2, predicted)
    params = jax.eval_shape(method.init, jax.random.key(0)).params
    places = dict(
        named_leaves(tree_shardings(params, sharding_rules(), AbstractMesh((2, 4, 2), AXES)))
    )
    for path, place in places.items():
        stacked = "/blocks/" in path
        assert not stacked or len(place.spec) == 0 or place.spec[0] is None, path
    kv, query = (f"decoder/blocks/attention/{name}/kernel" for name in ("kv", "query"))
    assert tuple(places[kv].spec) == (None, "fsdp", None, "tensor", None)
    assert tuple(places[query].spec) == (None, "fsdp", "tensor", None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"remat": "most"}, "unknown remat policy 'most': use one of none, full, dots"),
        ({"decoder_heads": 3}, "3 heads do not divide the width 16"),
        ({"patch": (7, 8)}, "32x24 pixels do not divide into patches of 7x8"),
    ],
)
def test_settings_that_cannot_be(changes, words):
    with pytest.raises(ValueError, match=words):
        model(**changes)(SPEC)
