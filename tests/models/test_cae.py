"""CAE's network: it computes what the official one does, and its decoder sees no visible token."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from maskmim.interop.layout import arrays_of, check_covered, params_of
from maskmim.losses.classification import cross_entropy
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_hidden
from maskmim.methods.masked import masked
from maskmim.models.cae import vit_cae
from maskmim.models.layers.compute import compute
from maskmim.models.layers.patches import gather
from maskmim.models.vit import ModelError
from maskmim.objectives.classification import classify
from maskmim.objectives.matching import match
from maskmim.targets.codes import codes
from maskmim.targets.features import features
from maskmim.teachers.alignment import alignment
from maskmim.training.sharding import AXES, transformer, tree_shardings
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Encoded, Randomness, Spec, Teacher, Variables
from tests.comparing import close
from tests.compiling import quick_jit
from tests.golden.cae import case
from tests.tolerances import PARITY, REORDERED

pytestmark = pytest.mark.full

SPEC = Spec((case.IMAGE, case.IMAGE), 3, (0.0,) * 3, (1.0,) * 3)
# Biases of keys, which cancel in the softmax, by their official names and by ours.
UNSEEN = ("k_bias", "norm1_k.bias", "key/bias", "norm_key/norm/bias")


def network(**changes):
    """Return the case's network."""
    depth, width, heads = case.ENCODER
    sizes = {"regressor_depth": case.REGRESSOR, "decoder_depth": case.DECODER, "drop_path": 0.0}
    keywords = {"variant": f"{depth}x{width}x{heads}", "patch": (case.PATCH, case.PATCH), **sizes}
    return vit_cae(SPEC, heads={"tokens": case.CODES}, **{**keywords, **changes})


def given_mask(randomness, context):
    return from_hidden(jnp.asarray(case.hidden().reshape(case.EXAMPLES, -1)), count=case.HIDDEN)


def given_codes():
    codes = case.codes().reshape(case.EXAMPLES, -1)
    return Teacher(("codes",), False, lambda *_: (), lambda *_: {"codes": codes}, lambda *_: ())


@cache
def official_case():
    """Return params with the official model's weights, and {official name: shape}."""
    ours = jax.eval_shape(network().init, jax.random.key(0))
    shapes = {path: leaf.shape for path, leaf in named_leaves(ours)}
    check_covered(case.layout(), shapes, "the official layout")
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), ours)
    theirs = {name: array.shape for name, array in arrays_of(case.layout(), blank).items()}
    weights = {name: case.weight(name, shape) for name, shape in theirs.items()}
    return params_of(case.layout(), shapes, weights), theirs


@cache
def losses():
    """Return losses by term, and their gradients of params and of the pictures."""
    align = partial(match, head="latent", target=features, loss=squared_error, scale=2.0)
    method = masked(
        SPEC,
        model=lambda spec: network(),
        mask=given_mask,
        objectives={"tokens": partial(classify, head="tokens", target=codes), "alignment": align},
        teachers={"encoder": alignment, "tokenizer": given_codes},
    )
    params, _ = official_case()
    extra = {"encoder": alignment().init(None, method.net, params), "tokenizer": ()}
    randomness = Randomness.of(jax.random.key(0), case.EXAMPLES)

    def terms(params, image):
        variables = Variables(params, extra, {"encoder": (), "tokenizer": ()})
        losses = method.loss(variables, {"image": image}, randomness, 0.0)
        assert losses.scales == {"tokens": 1.0, "alignment": 2.0}
        values = {name: mean.value for name, mean in losses.terms.items()}
        return values, values

    # Both terms by one backward pass: the Jacobian of the two.
    both = quick_jit(jax.jacrev(terms, argnums=(0, 1), has_aux=True))
    gradients, values = both(params, case.pictures())
    return values, gradients


@cache
def found():
    """Return the mask, Encoded, outputs and the encoder's latents of the hidden tokens."""
    net, (params, _), batch = network(), official_case(), {"image": case.pictures()}
    mask, teacher = given_mask(None, None), alignment()

    @quick_jit
    def run(params):
        encoded = net.encode(params, net.inputs(batch), mask)
        context = Context(batch, net.grids, {})
        latents = teacher.find(net, teacher.init(None, net, params), (), context, mask)["features"]
        return encoded, net.predict(params, encoded, mask), gather(latents, mask.predict)

    return mask, *run(params)


@pytest.mark.proves(4, "logits, latents, both losses and all gradients equal the official model's")
def test_losses_and_gradients_equal_the_official_model_s():
    golden = np.load(case.GOLDEN)
    theirs = official_case()[1]
    values, gradients = losses()
    for name, value in values.items():
        close(value, golden[name], PARITY, name)
    both = gradients["tokens"][0], gradients["alignment"][0]
    total = jax.tree.map(lambda tokens, align: tokens + 2.0 * align, *both)
    with_gradients = {name: shape for name, shape in theirs.items() if not name.endswith("k_bias")}
    ends = np.cumsum([np.prod(shape) for shape in with_gradients.values()])
    expected = dict(zip(with_gradients, np.split(golden["gradients"], ends[:-1]), strict=True))
    ours = arrays_of(case.layout(), total)
    for name, shape in theirs.items():
        if name.endswith(UNSEEN):
            assert np.abs(ours[name]).max() < 1e-6, name
        else:
            close(ours[name], expected[name].reshape(shape), PARITY, name)
            assert np.any(ours[name]), name


def test_predictions_equal_the_official_model_s():
    golden = np.load(case.GOLDEN)
    _, _, outputs, latents = found()
    close(outputs["tokens"], golden["logits"], PARITY, "logits")
    close(outputs["latent"], golden["latent"], PARITY, "regressed latents")
    close(latents, golden["target"], PARITY, "the encoder's latents")


@pytest.mark.proves(4, "the alignment trains encoder and regressor; no gradient enters its target")
def test_where_the_gradients_go():
    """Only the alignment's target reads the hidden pixels."""
    _, gradients = losses()
    hidden = np.asarray(found()[0].hidden)
    for name, (params, picture) in gradients.items():
        for path, leaf in named_leaves(params):
            in_decoder = path.startswith(("decoder/stack/", "decoder/norm/", "decoder/head_"))
            has_gradient = name == "tokens" or not in_decoder
            assert path.endswith(UNSEEN) or bool(np.any(leaf)) == has_gradient, (name, path)
        patches = np.asarray(network().patchify(picture))
        assert not np.any(patches[hidden]) and np.any(patches[~hidden]), name


@cache
def backwards():
    """Return a jitted (params, Encoded) -> gradients of the codes' loss, with blocks unrolled."""
    net, mask = network(compute=partial(compute, unroll=True, remat="full")), found()[0]
    right = np.take_along_axis(case.codes().reshape(case.EXAMPLES, -1), mask.predict, axis=1)

    def loss(params, encoded):
        return jnp.mean(cross_entropy(net.predict(params, encoded, mask)["tokens"], right))

    return quick_jit(jax.grad(loss, argnums=(0, 1)))


@pytest.mark.proves(4, "gradients of the decoder reach visible latents through the regressor alone")
def test_the_decoder_sees_the_regressed_latents_alone():
    """With the regressor's attention switched off no prediction depends on visible tokens."""
    (params, _), encoded = official_case(), found()[1]
    _, gradient = backwards()(params, encoded)
    assert (np.abs(gradient.tokens).max(axis=-1) > 0).all() and not np.any(gradient.prefix)
    blocks = params["decoder"]["regressor_blocks"]
    off = {**blocks, "scale1": {"scale": np.zeros_like(blocks["scale1"]["scale"])}}
    cut = {**params, "decoder": {**params["decoder"], "regressor_blocks": off}}
    assert not np.any(backwards()(cut, encoded)[1].tokens)


def test_unrolled_and_recomputed_blocks_give_the_same_gradients():
    gradients, _ = backwards()(official_case()[0], found()[1])
    expected = dict(named_leaves(losses()[1]["tokens"][0]["decoder"]))
    for path, leaf in named_leaves(gradients["decoder"]):
        if not path.endswith(UNSEEN):
            close(leaf, expected[path], REORDERED, path)


def test_bfloat16_computes_near_float32():
    net, (params, _), (mask, encoded, outputs, _) = (
        network(compute=partial(compute, dtype="bfloat16")),
        official_case(),
        found(),
    )
    encoded = Encoded(*(part.astype(jnp.bfloat16) for part in encoded[:2]))
    for name, value in quick_jit(net.predict)(params, encoded, mask).items():
        assert value.dtype == jnp.float32
        assert 0 < np.abs(value - outputs[name]).max() < 0.1 * np.abs(outputs[name]).max(), name


def test_the_encoder_drops_paths_and_captures():
    net, (params, _), (mask, encoded, _, _) = network(drop_path=0.9), official_case(), found()
    randomness = Randomness.of(jax.random.key(0), case.EXAMPLES)
    encode = quick_jit(partial(net.encode, capture=("layers", "attention", "embedded")))
    dropped = encode(params, case.pictures(), mask, randomness=randomness)
    assert not np.allclose(dropped.tokens, encoded.tokens)
    assert dropped.layers.shape == (2, case.EXAMPLES, 1 + 8, 8)
    assert dropped.attention.shape == (2, case.EXAMPLES, 2, 1 + 8)
    assert dropped.embedded.shape == (case.EXAMPLES, 1 + 8, 8)
    with pytest.raises(ModelError, match="queries: use embedded, layers, attention or none"):
        net.encode(params, case.pictures(), mask, capture=("layers", "queries"))


def test_shardings_of_the_regressor():
    shapes = jax.eval_shape(network(variant="2x16x4").init, jax.random.key(0))
    mesh = AbstractMesh((2, 4, 1, 2), AXES)
    places = dict(named_leaves(tree_shardings(shapes, transformer(), mesh)))
    at = "decoder/regressor_blocks/attention"
    for name in ("query", "key", "value"):
        assert tuple(places[f"{at}/{name}/kernel"].spec) == (None, "fsdp", "tensor", None)
        assert tuple(places[f"{at}/{name}/bias"].spec) == (None, "tensor", None)
    assert tuple(places[f"{at}/out/kernel"].spec) == (None, "tensor", None, "fsdp")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compute": partial(compute, remat="most")}, "unknown remat policy 'most'"),
        ({"variant": "2x8x3"}, "3 heads do not divide the width 8"),
        ({"patch": (5, 4)}, "do not divide into patches of 5x4"),
    ],
)
def test_impossible_settings_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        network(**changes)
