"""MaskAlign against the official model, and what its mixtures, masks and layers are."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.checkpoints.workdir import save_config
from maskmim.config.load import load
from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD
from maskmim.interop.layout import arrays_of
from maskmim.losses.regression import smooth_l1
from maskmim.masks.attention import sampled_scores
from maskmim.masks.core import from_scores
from maskmim.methods.masked import masked
from maskmim.models.encoder_only import vit_encoder
from maskmim.models.layer_mix import layer_mix
from maskmim.models.layers.errors import ModelError
from maskmim.objectives.aligned_layers import align_layers, tokens_of_blocks, visible_layers
from maskmim.objectives.visible import on_visible
from maskmim.teachers import pretrained
from maskmim.teachers.frozen import features
from maskmim.training.build import build_method
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Encoded, Mask, Randomness, Spec, Variables, View
from tests.comparing import close
from tests.golden.maskalign import case
from tests.golden.official_weights import large, params_by_name
from tests.objectives.views import net_of
from tests.tolerances import SIGNIFICANCE

full = pytest.mark.full
PATCH = (case.PATCH, case.PATCH)


def official_mask(randomness, context) -> Mask:
    """The case's masks: the smallest noise is visible."""
    return from_scores(-jnp.asarray(case.noise()), ratio=case.RATIO)


@cache
def teacher():
    """Return the teacher of the case, from a file as transformers writes it."""
    with TemporaryDirectory() as folder:
        case.clip().save_pretrained(folder)
        path = str(Path(folder) / "model.safetensors")
        size = "x".join(map(str, case.TEACHER))
        made = features(
            network=partial(pretrained.clip, path=path, variant=size, patch=PATCH),
            class_token=True,
            layers=case.LAYERS,
            attention=True,
            normalise=True,
            epsilon=1e-5,
        )
        made.freeze()  # the file is read once
    return made


@cache
def method():
    """MaskAlign at the case's size, composed as the config does."""
    side = (case.IMAGE, case.IMAGE)
    size = "x".join(map(str, case.STUDENT))
    mixture = partial(layer_mix, depth=case.STUDENT[0], layers=case.LAYERS, values=case.TEACHER[1])
    return masked(
        Spec(side, 3, IMAGENET_MEAN, IMAGENET_STD, dtype="float32"),
        model=partial(vit_encoder, variant=size, patch=PATCH, last_norm=False),
        mask=official_mask,
        objectives={"layers": partial(align_layers, call="align", loss=smooth_l1, scale=2.0)},
        teachers={"whole": teacher},
        calls={"align": mixture},
    )


def official_params():
    """Return the official weights as our params, and {official name: shape} of the encoder."""
    shapes = jax.eval_shape(method().net.init, jax.random.key(0))
    encoder, theirs = params_by_name(case.encoder(), {"encoder": shapes["encoder"]}, large)
    chosen = [layer - 1 for layer in case.LAYERS]
    values, width = case.TEACHER[1], case.STUDENT[1]
    heads = {
        "kernel": np.stack([large(f"distill_heads.{n}.weight", (values, width)).T for n in chosen]),
        "bias": np.stack([large(f"distill_heads.{n}.bias", (values,)) for n in chosen]),
    }
    weights = large("distill_weights", (case.TEACHER[0], case.STUDENT[0]))[chosen]
    return {**encoder, "align": {"mix": weights, "heads": heads}}, theirs


@cache
def outcome():
    """Return hints, predictions, targets, loss, metrics, gradients, and the official shapes."""
    net, frozen, (params, theirs) = method().net, {"whole": teacher().freeze()}, official_params()
    batch = {"image": case.pictures()}

    @jax.jit
    def run(params, frozen):
        mask = official_mask(None, None)
        context = Context(batch, net.grids, {})
        hints = teacher().find(net, (), frozen["whole"], context, None)
        encoded = net.encode(params, net.inputs(batch), mask, capture=("layers",))
        context = Context(batch, net.grids, hints)
        view = View(net, context, (), mask, encoded, {}, {}, params)
        predictions = net.calls["align"](params, tokens_of_blocks(encoded))

        def loss(params):
            variables = Variables(params, {"whole": ()}, frozen)
            randomness = Randomness.of(jax.random.key(0), case.EXAMPLES)
            losses = method().loss(variables, batch, randomness, 0.0)
            return losses.scales["layers"] * losses.terms["layers"].value, losses.metrics

        (value, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        return hints, predictions, visible_layers(on_visible(view)), value, metrics, gradients

    return (*jax.tree.map(np.asarray, run(params, frozen)), theirs)


@full
@pytest.mark.proves(
    5, "CLIP's attention and layers, predictions, loss and all gradients equal the official model's"
)
def test_equals_the_official_model():
    golden = np.load(case.GOLDEN)
    hints, predictions, targets, loss, metrics, gradients, theirs = outcome()
    close(hints["attention"], golden["attention"], name="attention")
    close(predictions, golden["predictions"], name="predictions")
    close(targets, golden["targets"], name="targets")
    close(loss, golden["loss"], name="loss")
    parts = [metrics[f"layers/layer_{n}"] for n in (1, 2)]
    close(sum(part.total / part.weight for part in parts), golden["loss"], name="layers")
    close(gradients["align"]["mix"], golden["weights"], name="weights")
    close(gradients["align"]["heads"]["kernel"], golden["kernel"], name="kernel")
    close(gradients["align"]["heads"]["bias"], golden["bias"], name="bias")
    ends = np.cumsum([np.prod(shape) for shape in theirs.values()])
    ours = arrays_of(case.encoder(), gradients)
    expected = np.split(golden["gradients"], ends[:-1])
    for (name, shape), gradient in zip(theirs.items(), expected, strict=True):
        close(ours[name], gradient.reshape(shape), name=name)
        assert np.any(ours[name]), name


@full
@pytest.mark.proves(5, "gradients reach every mixture, head and block, and nothing of the teacher")
def test_gradients_reach_the_student_alone():
    _, variant = build_method(load("maskalign:tiny"))
    variables = jax.jit(variant.variables)(jax.random.key(0))
    picture = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)

    @jax.jit
    def gradients(params, frozen):
        def loss(params, frozen):
            randomness = Randomness.of(jax.random.key(1), 2)
            variables_ = variables._replace(params=params, frozen=frozen)
            losses = variant.loss(variables_, {"image": picture}, randomness, 0.0)
            return losses.terms["layers"].value

        return jax.grad(loss, argnums=(0, 1))(params, frozen)

    of_student, of_teacher = gradients(variables.params, variables.frozen)
    for path, leaf in named_leaves(of_student):
        assert np.all(np.any(np.asarray(leaf).reshape(len(leaf), -1), axis=1)), path
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(of_teacher))


@pytest.mark.proves(5, "a mixture starts from the block of the layer's number, with 0.01 of all")
def test_what_a_mixture_starts_from_and_computes():
    made = layer_mix(4, depth=3, layers=(3, 2), values=5)
    params = made.init(jax.random.key(0))
    np.testing.assert_allclose(params["mix"], [[0.01, 0.01, 1.01], [0.01, 1.01, 0.01]])
    blocks = np.random.default_rng(0).normal(size=(3, 2, 6, 4)).astype("f4")
    params["mix"] = np.random.default_rng(1).normal(size=(2, 3)).astype("f4")
    params["heads"]["bias"] = np.random.default_rng(2).normal(size=(2, 5)).astype("f4")
    mixed = np.tensordot(params["mix"], blocks, 1)
    for place, found in enumerate(made.call(params, blocks)):
        kernel, bias = (params["heads"][name][place] for name in ("kernel", "bias"))
        np.testing.assert_allclose(found, mixed[place] @ kernel + bias, atol=1e-5)
    mean = layer_mix(4, depth=3, layers=(23, 24), values=5, start="mean")
    np.testing.assert_allclose(mean.init(jax.random.key(0))["mix"], np.full((2, 3), 1 / 3))
    with pytest.raises(ModelError, match=r"block 24 of 3: set start='mean'"):
        layer_mix(4, depth=3, layers=(23, 24))
    with pytest.raises(ModelError, match="a mixture of 3 blocks gets 2"):
        made.call(params, blocks[:2])


def test_another_number_of_layers_is_refused():
    net = net_of(align=jnp.eye(6))
    index = jnp.zeros((1, 2), jnp.int32)
    mask = Mask(index, index, jnp.zeros((1, 3), bool), jnp.ones((1, 2)))
    hints = {"layers": jnp.zeros((2, 1, 3, 6)), "class_layers": jnp.zeros((2, 1, 6))}
    token = jnp.zeros((1, 1, 6))
    encoded = Encoded(token, token, layers=jnp.zeros((3, 1, 3, 6)))
    view = View(
        net, Context({}, net.grids, hints), (), mask, encoded, {}, {}, {"align": jnp.eye(6)}
    )
    objective = align_layers(call="align", loss=smooth_l1)
    assert (objective.needs, objective.captures) == (("layers", "class_layers"), ("layers",))
    with pytest.raises(ModelError, match="predicts 3 layers, the teacher gives 2"):
        objective.find(view)
    with pytest.raises(ModelError, match="no class token"):
        objective.find(view._replace(encoded=encoded._replace(prefix=token[:, :0])))


@pytest.mark.proves(5, "visible tokens are drawn without replacement by attention, as multinomial")
def test_draws_have_the_law_of_the_official_ones():
    """Chi-square of the sets of two of four tokens against the law of successive draws."""
    from scipy.stats import chisquare

    attention, count = np.array([0.5, 0.3, 0.15, 0.05]), 20_000
    hints = {"attention": jnp.broadcast_to(attention, (count, 4))}
    context = Context({}, {"image": (2, 2)}, hints)
    scores = sampled_scores(Randomness.of(jax.random.key(3), count), context)
    chosen = np.sort(np.asarray(jnp.argsort(-scores, axis=1)[:, :2]), axis=1)
    pairs = [(a, b) for a in range(4) for b in range(a + 1, 4)]
    found = [np.sum(np.all(chosen == pair, axis=1)) for pair in pairs]
    law = [
        attention[a] * attention[b] * (1 / (1 - attention[a]) + 1 / (1 - attention[b]))
        for a, b in pairs
    ]
    assert chisquare(found, count * np.array(law)).pvalue > SIGNIFICANCE


def test_the_published_recipes():
    config = load("maskalign")
    assert config.teachers.whole.layers == (8, 9, 10, 11, 12)
    assert (config.model.drop_path, config.objectives.layers.scale) == (0.1, 2.0)
    assert (config.train.epochs, config.train.batch_size) == (200, 1024)
    assert config.schedule.final == pytest.approx(1e-5 / 6e-4)
    visible = from_scores(np.zeros((1, 196)), ratio=config.mask.ratio).visible
    assert visible.shape[1] == 58
    large_one = load("maskalign:variant=L/16,teacher=clip_l")
    assert large_one.model.drop_path == 0.2 and large_one.calls.align.start == "same"
    assert large_one.teachers.whole.layers == (20, 21, 22, 23, 24)
    mixed = load("maskalign:variant=L/16,teacher=clip").calls.align
    assert (mixed.start, mixed["values"], mixed.depth) == ("mean", 768, 24)


def test_a_run_teaches(tmp_path):
    before = load("mae:tiny")
    before.model.variant = "4x48x2"
    save_config(tmp_path, before)
    config = load(f"maskalign:tiny,run={tmp_path}")
    assert config.teachers.whole.network.workdir == str(tmp_path)
    assert config.teachers.whole.layers == (3, 4) and config.calls.align.start == "mean"
