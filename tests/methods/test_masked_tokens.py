"""MaskGIT: what is hidden is unseen, the loss is the official one, a trained model keeps rules."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.config.load import load
from maskmim.generate.parallel import decode
from maskmim.losses.classification import cross_entropy
from maskmim.masks.ratio import along
from maskmim.masks.uniform import random_scores
from maskmim.masks.varied import per_example
from maskmim.methods.masked_tokens import LabelError, masked_tokens
from maskmim.models.token_transformer import TokenModel, bert
from maskmim.teachers.picture_codes import CodesError, PictureCodes, fresh, of_run
from maskmim.training.build import build_method
from maskmim.training.train_step import initial_state, make_train_step
from maskmim.types import Encoded, Mask, Net, Randomness, Spec, Variables
from tests.compiling import quick_jit
from tests.golden.maskgit import case
from tests.running import ROOT
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

GOLDEN = np.load(ROOT / "tests/golden/maskgit/values.npz")
COLOURS, SIDE = 4, 4
SPEC = Spec((SIDE, SIDE), 1, (0.0,), (1 / 255,))
smoothed = partial(cross_entropy, smoothing=0.1)


def identity(spec, codes=COLOURS, grid=(SIDE, SIDE)):
    """A tokenizer whose code of a pixel is its value."""
    table = {"vectors": np.arange(codes, dtype=np.float32)[:, None]}

    net = Net(
        grids={"image": grid},
        width=1,
        init=None,
        inputs=lambda batch: jnp.asarray(batch["image"], jnp.float32),
        encode=lambda params, inputs, mask: Encoded(None, inputs.reshape(len(inputs), -1, 1)),
        predict=lambda params, encoded, mask: {"pixels": encoded.tokens},
        patchify=None,
        restore=lambda patches: patches.reshape(-1, *grid, 1),
        display=lambda inputs: inputs.astype(jnp.uint8),
    )
    return PictureCodes(net, codes, lambda: {"codebook": table})


def method_of(classes=0, mask=None, steps=4, dropout=0.1, **changes):
    settings = {
        "tokenizer": identity,
        "model": partial(bert, variant="2x32x2", dropout=dropout),
        "mask": mask or partial(per_example, scores=random_scores, law=along),
        "token_loss": smoothed,
        "condition": {"label": "kind" if classes else ""},
        "generation": partial(decode, steps=steps),
    }
    spec = SPEC._replace(labels={"kind": classes} if classes else {})
    return masked_tokens(spec, **{**settings, **changes})


def mirrors(examples, seed=0):
    """Pictures of 4 colours whose right half mirrors the left one."""
    rng = np.random.default_rng(seed)
    left = rng.integers(0, COLOURS, (examples, SIDE, SIDE // 2, 1), np.uint8)
    return np.concatenate([left, left[:, :, ::-1]], axis=2)


def always(hidden):
    """A sampler that hides what it is told."""
    tokens = jnp.broadcast_to(jnp.arange(hidden.shape[1]), hidden.shape)
    mask = Mask(tokens, tokens, jnp.asarray(hidden), jnp.asarray(hidden, jnp.float32))
    return lambda randomness, context: mask


@pytest.mark.proves(101, "the loss is the official one: smoothed, masked tokens, examples alike")
def test_the_loss_is_the_official_one():
    logits, codes, counted = case.smoothed()
    model = TokenModel(99, None, lambda *_: None, lambda *_: jnp.asarray(logits), ())
    method = method_of(
        mask=always(counted > 0),
        model=lambda *_: model,
        tokenizer=partial(identity, codes=case.CODES),
    )
    variables = Variables({}, (), method.freeze())
    batch = {"image": codes.reshape(-1, 4, 4, 1).astype(np.uint8)}
    randomness = Randomness.of(jax.random.key(0), case.EXAMPLES)
    losses = method.loss(variables, batch, randomness, 0.0)
    np.testing.assert_allclose(losses.terms["codes"].value, GOLDEN["cross_entropy"], rtol=PARITY)
    right = (logits.argmax(-1) == codes) * counted
    np.testing.assert_allclose(losses.metrics["accuracy"].value, right.sum() / counted.sum())


@pytest.mark.proves(101, "the model sees the codes of tokens that are not hidden, and no others")
def test_hidden_codes_are_unseen():
    hidden = np.random.default_rng(0).uniform(size=(4, 16)) < 0.5
    calls = []

    def encode(params, tokens, label, randomness):
        calls.append((np.asarray(tokens), np.asarray(label), randomness))

    model = TokenModel(99, None, encode, lambda *_: jnp.zeros((4, 16, COLOURS)), ())
    method = method_of(mask=always(hidden), model=lambda *_: model)
    variables, randomness = Variables({}, (), method.freeze()), Randomness.of(jax.random.key(0), 4)
    method.loss(variables, {"image": mirrors(4)}, randomness, 0.0)
    ((tokens, label, dropout_randomness),) = calls
    np.testing.assert_array_equal(tokens, np.where(hidden, 99, mirrors(4).reshape(4, 16)))
    np.testing.assert_array_equal(label, -1)
    assert dropout_randomness is randomness  # for dropout


@pytest.mark.proves(101, "the share that is hidden follows the cosine law, an example by itself")
def test_hidden_shares():
    method = method_of()
    batch = {"image": mirrors(2000)}
    found = method.apply["mask"]((), batch, Randomness.of(jax.random.key(0), 2000))
    counts = np.asarray(found["mask"].hidden).sum(axis=1)
    assert set(counts) == set(range(17))
    assert abs(counts.mean() / 16 - 2 / np.pi) < 0.02
    expected = 1 - 2 / np.pi * np.arccos(0.5)
    assert abs(np.mean(counts < 8) + np.mean(counts == 8) / 2 - expected) < 0.04


@pytest.mark.proves(101, "a trained model keeps a long-range rule over steps, not in one step")
def test_a_rule_is_learnt_and_decoded():
    """Pictures of one colour: every token tells all others, wherever it is."""
    plain = partial(bert, variant="1x32x2", dropout=0.0)
    method = method_of(steps=8, model=plain, token_loss=cross_entropy)
    optimiser = optax.adam(3e-3)
    state = quick_jit(partial(initial_state, method, optimiser))(jax.random.key(0))
    frozen = method.freeze()
    step = quick_jit(make_train_step(method, optimiser, seed=0, total_steps=150))
    colours = np.random.default_rng(0).integers(0, COLOURS, (150, 32, 1, 1, 1), np.uint8)
    losses = []
    for colour in colours:
        image = np.broadcast_to(colour, (32, SIDE, SIDE, 1))
        state, metrics = step(state, frozen, {"image": image})
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-20:]) < 0.3 * losses[0], losses
    variables = Variables(state.params, state.extra, frozen)
    all_unknown = jnp.full((64, 16), COLOURS + 1, jnp.int32)
    classes_and_randomness = jnp.full((64,), -1), Randomness.of(jax.random.key(1), 64)
    generate = quick_jit(method.apply["generate"])
    steps = np.asarray(generate(variables, all_unknown, *classes_and_randomness))
    valid = (steps == steps[:, :, :1]).all(axis=-1).mean(axis=1)
    # The guesses of the first step are what decoding in one step gives.
    assert valid[0] < 0.05 and valid[-1] > 0.5, valid
    assert len(np.unique(steps[-1, :, 0])) == COLOURS
    half = all_unknown.at[:, :8].set(jnp.arange(64)[:, None] % COLOURS)
    painted = np.asarray(generate(variables, half, *classes_and_randomness)[-1])
    assert (painted[:, :8] == half[:, :8]).all()
    assert (painted == half[:, :1]).mean() > 0.95


def test_classes_come_from_the_label_set():
    classes = []

    def encode(params, tokens, label, randomness):
        classes.append(np.asarray(label))

    model = TokenModel(99, None, encode, lambda *_: jnp.zeros((4, 16, COLOURS)), ())
    method = method_of(classes=3, model=lambda *_: model)
    variables, randomness = Variables({}, (), method.freeze()), Randomness.of(jax.random.key(0), 4)
    batch = {"image": mirrors(4), "label": {"kind": jnp.array([0, 1, 2, 0]), "other": jnp.zeros(4)}}
    method.loss(variables, batch, randomness, 0.0)
    np.testing.assert_array_equal(classes, [[0, 1, 2, 0]])
    method.loss(variables, {"image": mirrors(4)}, randomness, 0.0)  # pictures without labels
    np.testing.assert_array_equal(classes[1], [-1] * 4)
    said = r"'coarse', input.labels has \['kind'\].*--config.input.labels.coarse="
    with pytest.raises(LabelError, match=said):
        method_of(classes=3, condition={"label": "coarse"})


def test_a_run_that_is_no_tokenizer_is_an_error(monkeypatch):
    spec = Spec((8, 8), 3, (0.0,) * 3, (1.0,) * 3)

    class run:
        evaluated = Variables({"encoder": {}, "decoder": {}}, (), ())

    monkeypatch.setattr("maskmim.teachers.picture_codes.load_trained", lambda workdir: run)
    with pytest.raises(CodesError, match=r"runs/mae does not turn pictures.*no codebook"):
        of_run(spec, workdir="runs/mae")
    run.evaluated = Variables({"encoder": {}, "decoder": {}, "codebook": {}}, (), ())
    run.spec = spec._replace(size=(16, 16), labels={"class": 3})
    with pytest.raises(CodesError, match="give both the same input section"):
        of_run(spec, workdir="runs/vq")


def test_a_frozen_tokenizer_is_the_same_each_time():
    net = identity(SPEC).net._replace(
        init=lambda key: {"codebook": {"vectors": jax.random.normal(key, (8, 2))}}
    )
    first, other = (fresh(SPEC, model=lambda spec: net, seed=seed) for seed in (3, 4))
    assert first.codes == 8
    vectors, again, differs = (
        made.freeze()["codebook"]["vectors"] for made in (first, first, other)
    )
    np.testing.assert_array_equal(vectors, again)
    assert np.abs(vectors - differs).min() > 0


def test_the_published_recipe(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load("configs/maskgit.py:tokenizer=fresh")
    optim = config.optim
    assert (optim.lr, optim.lr_per, optim.b1, optim.b2) == (1e-4, 0, 0.9, 0.96)
    assert optim.weight_decay == 0.045 and config.train.batch_size == 256
    assert (config.model.variant, config.model.dropout) == ("24x768x16", 0.1)
    assert config.token_loss.smoothing == 0.1 and config.input.labels["class"] == 1000
    assert config.generation.temperature == 4.5
    _, method = build_method(config)
    params, _ = jax.eval_shape(method.init, jax.random.key(0))
    assert params["transformer"]["vocabulary"].shape == (1024 + 1000 + 2, 768)
    assert params["transformer"]["positions"].shape == (257, 768)
