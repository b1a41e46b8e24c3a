"""LV-MAE: equal to the official model and data set, and what padding reaches."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.data.embeddings import first_span
from maskmim.interop.layout import arrays_of
from maskmim.losses import cosine, squared_error
from maskmim.masks import padded, redundancy
from maskmim.methods.masked import masked
from maskmim.models.layers.errors import ModelError
from maskmim.models.lv_mae import lv_mae
from maskmim.objectives import match
from maskmim.targets import pixels
from maskmim.teachers.given import given
from maskmim.types import Context, Randomness, Spec, Variables, random_key
from tests.comparing import close
from tests.golden.lv_mae import case
from tests.golden.official_weights import params_by_name

full = pytest.mark.full
WIDTH, EXAMPLES = case.WIDTH, len(case.LENGTHS)
SPEC = Spec((case.PLACES,), WIDTH, (0.0,) * WIDTH, (1.0,) * WIDTH, "embeddings", "float32")
RANDOMNESS = Randomness.of(random_key(0), EXAMPLES)
HINTS = ("padding", "features")


def official_scores(randomness, context):
    """The case's noise: the smallest stay visible there, the largest here."""
    rows = [np.pad(1 - row, (0, case.PLACES - len(row))) for row in case.noise()]
    return jnp.asarray(np.stack(rows))


SCORES = {"random": official_scores, "redundant": redundancy.segments_scores}
LOSSES = {"error": squared_error, "cosine": cosine}


@cache
def method(kind: str):
    """LV-MAE at the case's size, composed as the config does."""
    loss = LOSSES[case.CASES[kind]]
    return masked(
        SPEC,
        model=partial(
            lv_mae,
            depth=case.ENCODER[0],
            heads=case.ENCODER[1],
            decoder_depth=case.DECODER[0],
            decoder_width=case.DECODER[1],
            decoder_heads=case.DECODER[2],
        ),
        mask=partial(padded.shares, ratio=case.RATIO, scores=SCORES[kind]),
        objectives={
            "embeddings": partial(match, head="embeddings", target=pixels.patches, loss=loss)
        },
        teachers={"data": partial(given, names=("padding", "embeddings"), hints=HINTS)},
    )


@cache
def batch() -> dict[str, np.ndarray]:
    size = {"embeddings": (case.PLACES,), "padding": (case.PLACES,)}
    made = [first_span(None, {"embeddings": one}, size) for one in case.sequences()]
    return {name: np.stack([one[name] for one in made]) for name in made[0]}


@cache
def official_params():
    shapes = jax.eval_shape(method("random").net.init, random_key(0))
    return params_by_name(case.layout(), shapes, case.weight)


@cache
def training(kind: str):
    """Return a jitted function of (params, batch): mask, predictions, loss, gradients."""
    net = method(kind).net

    @jax.jit
    def run(params, batch):
        def loss(params):
            variables = Variables(params, {"data": ()}, {"data": ()})
            return method(kind).loss(variables, batch, RANDOMNESS, 0.0).terms["embeddings"].value

        hints = {"padding": batch["padding"], "features": batch["embeddings"]}
        context = Context(batch, net.grids, hints)
        mask = padded.shares(RANDOMNESS, context, ratio=case.RATIO, scores=SCORES[kind])
        encoded = net.encode(params, net.inputs(batch), mask)
        outputs = net.predict(params, encoded, mask)["embeddings"]
        return mask, outputs, *jax.value_and_grad(loss)(params), encoded.prefix

    return run


def with_noise_in_padding() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    embeddings = batch()["embeddings"].copy()
    places = batch()["padding"]
    embeddings[places] = rng.standard_normal((places.sum(), WIDTH))
    return {**batch(), "embeddings": embeddings}


@full
@pytest.mark.proves(104, "masks, predictions, losses and all gradients equal the official ones")
@pytest.mark.parametrize("kind", case.CASES)
def test_equals_the_official_model(kind):
    golden = np.load(case.GOLDEN)
    params, theirs = official_params()
    mask, outputs, loss, gradients, _ = jax.tree.map(np.asarray, training(kind)(params, batch()))
    scored = np.zeros(mask.hidden.shape, bool)
    np.put_along_axis(scored, mask.predict, mask.weight > 0, axis=1)
    np.testing.assert_array_equal(scored, golden[f"{kind}_hidden"])
    rows = np.arange(EXAMPLES)[:, None]
    wanted = golden[f"{kind}_predictions"][rows, mask.predict]
    close(outputs[mask.weight > 0], wanted[mask.weight > 0], name="predictions")
    close(loss, golden[f"{kind}_loss"], name="loss")
    ends = np.cumsum([np.prod(shape) for shape in theirs.values()])
    ours = arrays_of(case.layout(), gradients)
    expected = np.split(golden[f"{kind}_gradients"], ends[:-1])
    for (name, shape), gradient in zip(theirs.items(), expected, strict=True):
        close(ours[name], gradient.reshape(shape), name=name)
        assert np.any(ours[name]), name


@full
@pytest.mark.proves(104, "what stands in the padding reaches nothing, bit for bit")
def test_padding_reaches_nothing():
    params = official_params()[0]
    first, second = (
        jax.tree.map(np.asarray, training("random")(params, each))
        for each in (batch(), with_noise_in_padding())
    )
    counted = first[0].weight > 0
    np.testing.assert_array_equal(first[1][counted], second[1][counted])
    np.testing.assert_array_equal(first[4], second[4])
    jax.tree.map(np.testing.assert_array_equal, first[2:4], second[2:4])


@pytest.mark.proves(104, "of each sequence the same share is shown, and padding never")
@pytest.mark.parametrize("ratio", [0.5, 0.7])
def test_shares_of_sequences_of_any_length(ratio):
    places = 20
    lengths = np.arange(1, places + 1)
    padding = np.arange(places) >= lengths[:, None]

    @jax.jit
    def draw(padding):
        context = Context({}, {"time": (places,)}, {"padding": padding})
        return padded.shares(Randomness.of(random_key(3), places), context, ratio=ratio)

    mask = jax.tree.map(np.asarray, draw(padding))
    seen = ~np.take_along_axis(mask.hidden, mask.visible, axis=1)
    expected = [int(length * round((1 - ratio) * 10)) // 10 for length in lengths]
    assert seen.sum(axis=1).tolist() == expected
    np.testing.assert_array_equal(mask.weight.sum(axis=1), lengths - expected)
    assert not (mask.weight * np.take_along_axis(padding, mask.predict, axis=1)).any()
    both = np.sort(np.concatenate([mask.visible, mask.predict], axis=1), axis=1)
    np.testing.assert_array_equal(both, np.broadcast_to(np.arange(places), both.shape))


def test_the_published_recipe():
    config = load("lv_mae")
    assert (config.train.epochs, config.train.batch_size, config.mask.ratio) == (151, 128, 0.5)
    assert (config.optim.lr, config.optim.lr_per, config.optim.b2) == (1e-3, 256, 0.95)
    assert (config.model.depth, config.model.heads, config.model.decoder_depth) == (32, 16, 8)
    assert (config.input.size, config.input.channels) == ((256,), 1024)
    of_file = load("lv_mae:path=films.npz,width=64,mask=random,loss=cosine")
    assert of_file.input.channels == 64 and of_file.data.train.path == "films.npz"


def test_pictures_are_refused():
    with pytest.raises(ModelError, match="one axis"):
        lv_mae(Spec((8, 8), 3, (0.0,) * 3, (1.0,) * 3))
