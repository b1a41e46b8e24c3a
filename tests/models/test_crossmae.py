"""CrossMAE: predictions independent of each other, read from every layer, and cheap."""

from functools import cache, partial
from itertools import combinations
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.interop.layout import arrays_of
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_scores
from maskmim.masks.roles import partly_predicted
from maskmim.masks.uniform import random
from maskmim.methods.masked import masked
from maskmim.models.crossmae import vit_crossmae
from maskmim.models.layers.compute import compute
from maskmim.models.masked_vit import vit_mae
from maskmim.objectives.matching import match
from maskmim.targets.pixels import normalised_patches, patches
from maskmim.training.build import build_method
from maskmim.training.sharding import AXES, transformer, tree_shardings
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Encoded, Mask, Mean, Randomness, Spec, Variables, View
from tests.comparing import close
from tests.golden.crossmae import case
from tests.golden.official_weights import params_by_name
from tests.tiny import SPEC, pictures
from tests.tolerances import PARITY, REORDERED, SIGNIFICANCE

pytestmark = pytest.mark.full

TOKENS = 12


def model(**changes):
    """Return a brick spec -> Net with 4x3 tokens, three encoder and two decoder blocks."""
    keywords = {"variant": "3x16x2", "patch": (8, 8), "decoder_depth": 2, "decoder_width": 16}
    return partial(vit_crossmae, **{**keywords, "decoder_heads": 2, **changes})


def composed(share, target=normalised_patches, **changes):
    """Return CrossMAE's method; a share of the 9 hidden tokens is predicted."""
    return masked(
        SPEC,
        model=model(**changes),
        mask=partial(partly_predicted, sampler=partial(random, ratio=0.75), share=share),
        objectives={"pixels": partial(match, head="pixels", target=target, loss=squared_error)},
        teachers={},
    )


def random_params(net, seed=0):
    """Return random params, also of biases and norms."""
    shapes = jax.eval_shape(net.init, jax.random.key(seed))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), shapes)


@cache
def example():
    """Return (net, params, Encoded, mask) of three pictures, all 9 hidden tokens predicted."""
    net = model()(SPEC)
    params = random_params(net)
    rng = np.random.default_rng(3)
    order = np.stack([rng.permutation(TOKENS) for _ in range(3)]).astype(np.int32)
    visible, predict = np.sort(order[:, :3]), np.sort(order[:, 3:])
    hidden = np.ones((3, TOKENS), bool)
    np.put_along_axis(hidden, visible, False, axis=1)
    mask = jax.tree.map(jnp.asarray, Mask(visible, predict, hidden, np.ones((3, 9), np.float32)))
    encode = jax.jit(lambda params, batch, mask: net.encode(params, net.inputs(batch), mask))
    return net, params, encode(params, {"image": pictures(3)}, mask), mask


@pytest.mark.proves(8, "a token's prediction is bit-identical whichever others are predicted")
def test_predictions_are_independent_of_each_other():
    """Exact among parts of equal size; matrices of other shapes may be summed in another order."""
    net, params, encoded, mask = example()
    predict = jax.jit(net.predict)
    whole = np.asarray(predict(params, encoded, mask)["pixels"])
    alone = {}
    for chosen in ((0, 1, 2), (0, 7, 8), (1, 2, 4), (3, 4, 8), (3, 5, 6), (2, 6, 7)):
        places = np.array(chosen)
        part = mask._replace(predict=mask.predict[:, places], weight=mask.weight[:, places])
        pixels = np.asarray(predict(params, encoded, part)["pixels"])
        close(pixels, whole[:, places], REORDERED, chosen)
        for slot, place in enumerate(chosen):
            before = alone.setdefault(place, pixels[:, slot])
            np.testing.assert_array_equal(pixels[:, slot], before, err_msg=f"{place} of {chosen}")
    assert len(alone) == 9 and len(np.unique(whole[..., 0])) == whole[..., 0].size


@pytest.mark.proves(8, "the loss on a part of the tokens is an unbiased estimate of the whole one")
def test_the_loss_on_a_part_estimates_the_whole_loss():
    """Exact over all parts of 3 of 9 tokens, unbiased over the sampler's parts.

    Pictures that grow brighter downwards make a token's loss depend on its place, so that the test
    detects a sampler that prefers some places.
    """
    examples = 512
    whole, part = composed(1.0, target=patches), composed(1 / 3, target=patches)
    variables = Variables(random_params(whole.net), {}, {})
    bright = np.linspace(127, 255, 32).astype(np.uint8)[None, :, None, None]
    batch = {"image": np.broadcast_to(bright, (examples, 32, 24, 3))}
    randomness = Randomness.of(jax.random.key(1), examples)

    def errors(method):
        found = jax.jit(method.apply["reconstruct"])(variables, batch, randomness)
        off = np.asarray(found["prediction"]) - np.asarray(found["target"])
        return np.mean(off**2, axis=-1), found["mask"]

    (every, mask), (some, parted) = errors(whole), errors(part)
    assert every.shape == (examples, 9) and some.shape == (examples, 3)
    np.testing.assert_array_equal(mask.visible, parted.visible)
    parts = np.array(list(combinations(range(9), 3)))
    np.testing.assert_allclose(every[:, parts].mean(axis=(1, 2)), every.mean(axis=1), rtol=1e-5)
    off = some.mean(axis=1) - every.mean(axis=1)
    assert off.std() > 0.1 * every.mean()
    z = off.mean() / (off.std() / np.sqrt(examples))
    assert abs(z) < NormalDist().inv_cdf(1 - SIGNIFICANCE / 2), z


@pytest.mark.proves(8, "gradients reach the encoder through every feature map, the embedding too")
def test_every_feature_map_is_read():
    net, params, encoded, mask = example()

    def loss(encoded: Encoded):
        return jnp.sum(net.predict(params, encoded, mask)["pixels"] ** 2)

    gradient = jax.jit(jax.grad(loss))(encoded)
    assert gradient.layers.shape == (3, 3, 4, 16) and gradient.embedded.shape == (3, 4, 16)
    assert (np.abs(gradient.layers).max(axis=-1) > 0).all()  # each layer, class and visible tokens
    assert (np.abs(gradient.embedded).max(axis=-1) > 0).all()
    assert not np.any(gradient.tokens) and not np.any(gradient.prefix)  # after the last norm


def test_a_block_reads_its_own_mixture():
    """A block reads what its mixture contains; of a zero mixture the norm leaves its bias."""
    net, params, encoded, mask = example()

    @jax.jit
    def gradient(mix):
        changed = {**params, "decoder": {**params["decoder"], "mix": mix}}

        def loss(encoded: Encoded):
            return jnp.sum(net.predict(changed, encoded, mask)["pixels"] ** 2)

        return jax.grad(loss)(encoded)

    first = gradient(np.array([[0, 0, 0, 0], [1, 0, 0, 0]], np.float32))
    assert np.any(first.embedded) and not np.any(first.layers)
    middle = gradient(np.array([[0, 0, 1, 0], [0, 0, 0, 0]], np.float32))
    assert not np.any(middle.embedded)
    assert [bool(np.any(layer)) for layer in middle.layers] == [False, True, False]


def flops(net, params, encoded, mask):
    predict = jax.jit(lambda *arguments: net.predict(*arguments)["pixels"])
    lowered = predict.lower(params, encoded, mask)
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

    cross = vit_crossmae(spec, compute=partial(compute, unroll=True))
    part, every = count(cross, 49), count(cross, 147)
    mae = count(vit_mae(spec, compute=partial(compute, unroll=True)), 147)
    block = 49 * (2 * 512**2 + 8 * 512**2) + 50 * 768 * 1024 + 2 * 49 * 50 * 512
    mixing = 13 * 50 * 768
    by_hand = 2 * (12 * (block + mixing) + 49 * 512 * 768)
    print(f"GFLOP: MAE {mae / 1e9:.2f}, CrossMAE {part / 1e9:.2f}, all {every / 1e9:.2f}")
    assert part == pytest.approx(by_hand, rel=0.03)
    assert 2.5 < mae / part < 3.7
    assert 0.9 < mae / every < 1.1


def official_case():
    """Return (net, params, {official name: shape}) with the official model's weights."""
    depth, width, heads = case.ENCODER
    net = vit_crossmae(
        Spec((case.IMAGE, case.IMAGE), 3, (0.0,) * 3, (1.0,) * 3),
        variant=f"{depth}x{width}x{heads}",
        patch=(case.PATCH, case.PATCH),
        decoder_depth=case.DECODER[0],
        decoder_width=case.DECODER[1],
        decoder_heads=case.DECODER[2],
    )
    ours = jax.eval_shape(net.init, jax.random.key(0))
    return net, *params_by_name(case.layout(), ours, case.weight)


@cache
def official_loss():
    """Return params, {official name: shape}, jitted (loss, predictions), the same and gradients."""
    net, params, theirs = official_case()
    objective = match(head="pixels", target=normalised_patches, loss=squared_error)
    batch = {"image": case.pictures().transpose(0, 2, 3, 1)}

    def run(params, predict):
        mask = from_scores(-jnp.asarray(case.noise()), ratio=case.RATIO)
        mask = mask._replace(predict=predict, weight=jnp.ones(predict.shape))
        inputs = net.inputs(batch)
        encoded = net.encode(params, inputs, mask)
        outputs = net.predict(params, encoded, mask)
        view = View(net, Context(batch, net.grids, {}), inputs, mask, encoded, outputs, {})
        per_token, weight, _, _ = objective.find(view)
        return Mean(jnp.sum(per_token * weight), jnp.sum(weight)).value, outputs["pixels"]

    return params, theirs, jax.jit(run), jax.jit(jax.value_and_grad(run, has_aux=True))


@pytest.mark.proves(8, "predictions, loss and all gradients equal the official model's")
def test_equals_the_official_model():
    golden = np.load(case.GOLDEN)
    params, theirs, run, run_back = official_loss()
    part, every = (golden[f"predict_{share}"].astype(np.int32) for share in case.KEPT)
    loss_of_part, gradients = run_back(params, part)
    for share, (loss, predictions) in zip(
        case.KEPT, (loss_of_part, run(params, every)), strict=True
    ):
        close(loss, golden[f"loss_{share}"], PARITY, "loss")
        close(predictions, golden[f"predictions_{share}"], PARITY, "predictions")
    ends = np.cumsum([np.prod(shape) for shape in theirs.values()])
    expected = np.split(golden["gradients"], ends[:-1])
    ours = arrays_of(case.layout(), gradients)
    for (name, shape), gradient in zip(theirs.items(), expected, strict=True):
        close(ours[name], gradient.reshape(shape), PARITY, name)
        assert np.any(ours[name]), name


def test_encoded_tokens_pass_a_norm_without_parameters():
    _, params, encoded, _ = example()
    last = np.asarray(encoded.layers[-1])
    mean, variance = last.mean(axis=-1, keepdims=True), last.var(axis=-1, keepdims=True)
    both = np.concatenate([encoded.prefix, encoded.tokens], axis=1)
    close(both, (last - mean) / np.sqrt(variance + 1e-6), REORDERED)
    assert "norm" not in params["encoder"]


def test_initialisation():
    """Mixture and linear layers are Xavier's over inputs and outputs, the token N(0, 0.02)."""
    net = model(variant="3x64x2", decoder_depth=60, decoder_width=32)(SPEC)
    decoder = jax.jit(net.init)(jax.random.key(0))["decoder"]
    assert decoder["mix"].shape == (60, 4)
    bound = np.sqrt(6 / (60 + 4))
    assert 0.97 * bound < np.abs(decoder["mix"]).max() <= bound
    read = decoder["blocks"]["attention"]
    for kernel, fans in ((read["kv"], 64 + 64), (read["query"], 64), (read["out"], 64)):
        bound = np.sqrt(6 / fans)
        assert 0.97 * bound < np.abs(kernel["kernel"]).max() <= bound
        assert not np.any(kernel["bias"])
    assert np.std(decoder["mask_token"]) == pytest.approx(0.02, rel=0.5)


def test_unrolled_and_recomputed_blocks_give_the_same_gradients():
    _, params, encoded, mask = example()

    def gradients(**changes):
        net = model(**changes)(SPEC)

        def loss(params):
            return jnp.sum(net.predict(params, encoded, mask)["pixels"] ** 2)

        return jax.jit(jax.grad(loss))(params)["decoder"]

    expected = dict(named_leaves(gradients()))
    for path, leaf in named_leaves(gradients(compute=partial(compute, unroll=True, remat="full"))):
        close(leaf, expected[path], REORDERED, path)


def test_bfloat16_computes_near_float32():
    net, params, encoded, mask = example()
    expected = jax.jit(net.predict)(params, encoded, mask)["pixels"]
    coarse = jax.tree.map(lambda x: None if x is None else x.astype(jnp.bfloat16), encoded)
    coarse_net = model(compute=partial(compute, dtype="bfloat16"))(SPEC)
    pixels = jax.jit(coarse_net.predict)(params, coarse, mask)["pixels"]
    assert pixels.dtype == jnp.float32
    assert 0 < np.abs(pixels - expected).max() < 0.1 * np.abs(expected).max()


def test_a_few_steps_reduce_the_loss():
    params, _, _, run_back = official_loss()
    predict = np.load(case.GOLDEN)["predict_0.25"].astype(np.int32)
    losses = []
    for _ in range(10):
        (loss, _), gradients = run_back(params, predict)
        params = jax.tree.map(lambda p, g: p - 0.01 * np.asarray(g), params, gradients)
        losses.append(float(loss))
    assert losses[-1] < 0.9 * losses[0], losses


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
    assert chosen.compute.dtype == "bfloat16" and config.train.batch_size == 4096
    assert config.optim.lr == pytest.approx(lr)
    _, method = build_method(config)
    context = Context({}, method.net.grids, {})
    mask = jax.eval_shape(
        lambda key: bind(config.mask)(Randomness.of(key, 2), context), jax.random.key(0)
    )
    assert mask.predict.shape == (2, predicted)
    params = jax.eval_shape(method.init, jax.random.key(0))[0]
    places = dict(
        named_leaves(tree_shardings(params, transformer(), AbstractMesh((2, 4, 1, 2), AXES)))
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
        ({"compute": partial(compute, remat="most")}, "policy 'most': use one of none, full"),
        ({"decoder_heads": 3}, "3 heads do not divide the width 16"),
        ({"patch": (7, 8)}, "size 32x24 do not divide into patches of 7x8"),
    ],
)
def test_impossible_settings_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        model(**changes)(SPEC)
