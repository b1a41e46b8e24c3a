"""VQ-KD: the official losses, gradients and codes; what learns and what follows by averages."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.interop.layout import arrays_of, check_covered, params_of, shapes_of
from maskmim.losses.feature import cosine
from maskmim.losses.regression import squared_error
from maskmim.methods.vq_kd import vq_kd
from maskmim.models.layers.errors import ModelError
from maskmim.models.vq_vit import vq_vit
from maskmim.objectives.matching import match
from maskmim.quantize.ema_codebook import averaged
from maskmim.targets.codes import quantised
from maskmim.targets.features import features
from maskmim.training.build import build_method
from maskmim.training.train_step import initial_state, make_train_step
from maskmim.types import Randomness, Spec, Teacher, Variables
from tests.compiling import quick_jit
from tests.golden.beit_v2 import case
from tests.running import ROOT
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

SPEC = Spec((case.IMAGE, case.IMAGE), 3, (0.5,) * 3, (0.5,) * 3)
RANDOMNESS = Randomness.of(jax.random.key(0), case.EXAMPLES)


def patches_as_features(*, values):
    """A teacher whose features are a fixed projection of the pixels of a patch."""

    def find(net, extra, frozen, context, mask):
        patches = net.patchify(net.inputs(context.batch))
        return {"features": patches @ frozen["projection"]}

    def freeze():
        projection = np.random.default_rng(0).normal(size=(3 * case.PATCH**2, values))
        return {"projection": projection.astype(np.float32)}

    unchanged = lambda extra, params, carry, progress: extra  # noqa: E731
    return Teacher(("features",), False, lambda *_: (), find, unchanged, freeze)


def given_features():
    """A teacher that says what the case says."""
    teacher = patches_as_features(values=1)
    return teacher._replace(find=lambda *_: {"features": jnp.asarray(case.features())})


@cache
def method_of(teacher=given_features, values=case.VALUES, **codebook):
    settings = {"size": case.BOOK, "decay": case.DECAY, "rounds": 0, **codebook}
    model = partial(
        vq_vit,
        variant="x".join(map(str, case.ENCODER)),
        patch=(case.PATCH, case.PATCH),
        width=case.WIDTH,
        features=values,
        decoder_depth=case.READER,
    )
    terms = {
        "features": partial(match, head="features", target=features, loss=cosine),
        "commitment": partial(match, head="vectors", target=quantised, loss=squared_error),
    }
    book = partial(averaged, **settings)
    return vq_kd(SPEC, model=model, codebook=book, objectives=terms, teachers={"t": teacher})


def case_variables(method):
    """The official weights and codes; positions of class tokens are added to these."""
    net, entries = method.net, case.tokenizer()
    shapes = shapes_of(net)
    check_covered(entries, shapes, "the official layout")
    params, extra = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype),
        jax.eval_shape(method.init, jax.random.key(0)),
    )
    blank = arrays_of(entries, params)
    arrays = {}
    for name, array in blank.items():
        if name.endswith("pos_embed"):
            table = case.weight(name, (1, len(array) + 1, array.shape[1]))[0]
            arrays[name] = table[1:]
            token = name.replace("pos_embed", "cls_token")
            arrays[token] = case.weight(token, blank[token].shape) + table[:1]
        elif not name.endswith("cls_token"):
            arrays[name] = case.weight(name, array.shape)
    filled = np.int32(case.BOOK)
    extra["codebook"] |= {"codes": jnp.asarray(case.codebook()), "filled": filled}
    return Variables(params_of(entries, shapes, arrays), extra, method.freeze())


def losses_and_gradients(method, variables, batch):
    @quick_jit
    def run(variables):
        def loss(params):
            losses = method.loss(variables._replace(params=params), batch, RANDOMNESS, 0.0)
            total = sum(losses.scales[name] * term.value for name, term in losses.terms.items())
            return total, losses

        gradients, losses = jax.grad(loss, has_aux=True)(variables.params)
        return gradients, losses, method.refresh(variables, losses.carry, 0.0)

    return run(variables)


@pytest.mark.proves(113, "VQ-KD's losses, gradients, codes and next codebook equal the official")
def test_equals_the_official_tokenizer():
    method, golden = method_of(), np.load(case.GOLDEN)
    variables = case_variables(method)
    batch = {"image": case.pictures()}
    gradients, losses, extra = losses_and_gradients(method, variables, batch)
    codes = quick_jit(method.apply["codes"])(variables, batch)
    np.testing.assert_array_equal(codes, golden["found"])
    np.testing.assert_allclose(losses.terms["features"].value, golden["distance"], rtol=PARITY)
    np.testing.assert_allclose(losses.terms["commitment"].value, golden["commitment"], rtol=PARITY)
    learnt = arrays_of(case.tokenizer(), gradients)
    ours = np.concatenate([learnt[entry.name].reshape(-1) for entry in case.tokenizer()])
    theirs = golden["tokenizer_gradients"]
    assert np.abs(ours - theirs).max() / np.abs(theirs).max() < PARITY
    np.testing.assert_allclose(extra["codebook"]["codes"], golden["codebook"], atol=PARITY)
    np.testing.assert_allclose(extra["codebook"]["counts"], golden["counts"], atol=PARITY)
    dead = np.setdiff1d(np.arange(case.BOOK), golden["found"])
    assert len(dead)
    np.testing.assert_allclose(golden["codebook"][dead], case.codebook()[dead], atol=1e-6)


@pytest.mark.proves(113, "the teacher's features train the encoder through the codes")
def test_the_encoder_learns_through_the_codes():
    """Without the commitment, whose gradient does not go through what was quantised."""
    method = method_of()
    variables = case_variables(method)

    def distance(params):
        losses = method.loss(
            variables._replace(params=params), {"image": case.pictures()}, RANDOMNESS, 0.0
        )
        return losses.terms["features"].value

    gradients = quick_jit(jax.grad(distance))(variables.params)
    for name in ("encoder", "decoder"):
        assert all(np.any(leaf) for leaf in jax.tree.leaves(gradients[name])), name


def test_steps_reduce_the_loss_and_the_batch_may_be_split():
    method = method_of(partial(patches_as_features, values=case.VALUES), rounds=2, offered=6)
    optimiser = optax.adam(3e-3)
    start = partial(initial_state, method, optimiser)
    state = quick_jit(start)(jax.random.key(0))
    frozen = method.freeze()
    coarse = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), np.uint8)
    batch = {"image": coarse.repeat(4, axis=1).repeat(4, axis=2)}
    train_step = make_train_step(method, optimiser, seed=0, total_steps=60)
    step, losses = quick_jit(train_step), []
    for _ in range(60):
        state, metrics = step(state, frozen, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.5 * losses[0], losses
    assert float(metrics["codes/used"]) > 0.5
    assert 1 < float(metrics["codes/perplexity"]) <= case.BOOK
    split = make_train_step(method, optimiser, seed=0, total_steps=60, micro_batches=2)
    shapes, _ = jax.eval_shape(split, state, frozen, batch)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, state)


def test_features_of_another_width_are_an_error():
    method = method_of(partial(patches_as_features, values=7))
    shapes = jax.eval_shape(lambda: method.variables(jax.random.key(0)))
    batch = {"image": case.pictures()}
    with pytest.raises(ModelError, match=r"'features' has 5 values .* its target 7.*=7"):
        jax.eval_shape(lambda v: method.loss(v, batch, RANDOMNESS, 0.0), shapes)


def test_the_sheet_has_a_colour_for_each_code():
    method = method_of()
    variables, batch = case_variables(method), {"image": case.pictures()}
    sheet, codes = quick_jit(
        lambda v: (method.sheets["codes"](v, batch, RANDOMNESS), method.apply["codes"](v, batch))
    )(variables)
    assert sheet["image"].shape == sheet["codes"].shape == (case.EXAMPLES, 16, 16, 3)
    cells = np.asarray(sheet["codes"])[:, ::4, ::4].reshape(-1, 3)
    assert len(np.unique(cells, axis=0)) == len(np.unique(codes))


@pytest.mark.proves(113, "the tokenizer's recipe is that of TOKENIZER.md")
@pytest.mark.parametrize(("teacher", "values"), [("clip", 512), ("dino", 768)])
def test_the_published_recipe(teacher, values, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load(f"configs/vq_kd.py:teacher={teacher}")
    optim, schedule = config.optim, config.schedule
    assert (config.train.batch_size, config.train.epochs) == (512, 100)
    assert optim.lr * 512 / optim.lr_per == pytest.approx(2e-4)
    assert (optim.b1, optim.b2, optim.weight_decay) == (0.9, 0.99, 1e-4)
    assert (schedule.warmup_epochs, schedule.final * 2e-4) == (10, pytest.approx(1e-5))
    assert (config.codebook.size, config.codebook.decay, config.codebook.rounds) == (8192, 0.99, 10)
    assert (config.model.width, config.model.decoder_depth, config.model.features) == (
        32,
        3,
        values,
    )
    assert tuple(config.data.augment.scale) == (0.08, 1.0)
    _, method = build_method(config)
    assert method.net.grids == {"image": (14, 14)}


def test_a_teacher_that_is_not_published_is_an_error():
    with pytest.raises(ConfigError, match="use clip or dino"):
        load(f"{ROOT}/configs/vq_kd.py:teacher=bert")
