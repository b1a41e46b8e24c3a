"""data2vec 2.0: equal to the official code; one target for many masks, noise in training alone."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.losses.regression import squared_error
from maskmim.masks.blocks import island_squares, islands
from maskmim.masks.core import MaskError, from_hidden
from maskmim.masks.views import repeated
from maskmim.methods.views import masked_views
from maskmim.models.data2vec import vit_data2vec
from maskmim.models.layers.errors import ModelError
from maskmim.objectives.matching import match, match_class
from maskmim.targets.features import mean_layer_normed
from maskmim.teachers.average import average
from maskmim.teachers.features import averaged_mlps
from maskmim.teachers.momentum import linear
from maskmim.types import Context, Randomness, Spec, Variables
from tests.comparing import close
from tests.golden.data2vec2 import case
from tests.methods.recorded_views import check_gradients, official_variables, recorded

full = pytest.mark.full
SPEC = Spec((case.IMAGE, case.IMAGE), 3, (0.0,) * 3, (1.0,) * 3, dtype="float32")
GRID = Context({}, {"image": (14, 14)}, {})
RANDOMNESS = Randomness.of(jax.random.key(0), case.EXAMPLES)
MODEL = partial(
    vit_data2vec,
    variant=f"{case.PRENET + case.DEPTH}x{case.WIDTH}x{case.HEADS}",
    patch=(case.PATCH, case.PATCH),
    decoder_depth=case.LAYERS,
    decoder_width=case.WIDTH,
    decoder_side=case.SIDE,
    groups=case.GROUPS,
    noise=0.0,
)


def given_masks(randomness, context):
    """The case's masks."""
    count = context.length - case.VISIBLE
    hidden = jnp.asarray(case.hidden())
    return tuple(from_hidden(hidden[:, mask], count=count) for mask in range(case.MASKS))


def method(net, target):
    """data2vec 2.0 at the case's size, over a network."""
    root = case.WIDTH**0.5
    of_class = root * case.CLASS * case.EXAMPLES * case.MASKS
    tokens = {"head": "features", "target": target, "loss": squared_error, "scale": root}
    whole = {"head": "class", "target": mean_layer_normed, "loss": squared_error}
    find = partial(averaged_mlps, layers=case.TOP)
    rising = partial(linear, start=0.9998, end=0.99999)
    return masked_views(
        SPEC,
        model=lambda spec: net,
        mask=given_masks,
        objectives={
            "features": partial(match, **tokens),
            "class": partial(match_class, **whole, scale=of_class),
        },
        pairs={},
        teachers={"average": partial(average, find=find, momentum=rising, parts=("encoder",))},
        predicts=tuple(range(case.MASKS)),
    )


@cache
def run():
    """Terms of the loss, predictions [masks, B, P, D], masks of the encoder's passes, gradients.

    Gradients are those of the loss to params, average and pictures.
    """
    net = MODEL(SPEC)
    student, kept, _ = official_variables(case, net)
    record = recorded(net)
    made = method(record.net, record.target)

    def loss(params, extra, pictures):
        trained = Variables(params, extra, {"average": ()})
        losses = made.loss(trained, {"image": pictures}, RANDOMNESS, jnp.float32(0))
        terms = {name: losses.scales[name] * term.value for name, term in losses.terms.items()}
        return sum(terms.values()), (
            terms,
            jnp.stack(record.predictions),
            jnp.stack(record.targets),
        )

    back = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    pictures = case.pictures().transpose(0, 2, 3, 1)
    (_, (terms, predicted, wanted)), gradients = back(student, kept, pictures)
    return terms, predicted, wanted, record.passes, gradients


@full
def test_predictions_targets_losses_and_gradients_equal_the_official_code():
    golden, masks = np.load(case.GOLDEN), given_masks(None, Context({}, {"image": (4, 4)}, {}))
    terms, predicted, wanted, _, (params, extra, _) = run()
    for name, value in terms.items():
        close(value, golden[f"{name}_loss"], name=name)
    theirs = golden["predictions"].reshape(case.EXAMPLES, case.MASKS, -1, case.WIDTH)
    for number, mask in enumerate(masks):
        places = np.asarray(mask.predict)[..., None]
        close(predicted[number], np.take_along_axis(theirs[:, number], places, axis=1))
        close(wanted[number], np.take_along_axis(golden["targets"], places, axis=1))
    check_gradients(case, params, extra)


@full
def test_the_teacher_sees_a_picture_once_for_all_its_masks():
    assert [mask is None for mask in run()[3]] == [True, *[False] * case.MASKS]


@full
def test_the_student_sees_no_token_that_every_mask_hides():
    shown, side = ~case.hidden().all(axis=1), case.IMAGE // case.PATCH
    gradient = np.abs(run()[4][2]).reshape(len(shown), side, case.PATCH, side, case.PATCH, 3)
    reached = gradient.sum((2, 4, 5)).reshape(len(shown), -1) > 0
    np.testing.assert_array_equal(reached, shown)


@full
def test_hidden_places_get_noise_in_training_alone():
    net = MODEL(SPEC, noise=0.01)
    params = net.init(jax.random.key(0))
    mask = given_masks(None, Context({}, {"image": (4, 4)}, {}))[0]
    pictures = case.pictures().transpose(0, 2, 3, 1)

    @jax.jit
    def outputs(randomness):
        encoded = net.encode(params, pictures, mask)
        made = [
            net.predict(params, encoded, mask, randomness=own) for own in (None, None, randomness)
        ]
        return [each["features"] for each in made]

    calm, again, noisy = outputs(RANDOMNESS)
    _, _, other = outputs(Randomness.of(jax.random.key(1), case.EXAMPLES))
    np.testing.assert_array_equal(calm, again)
    assert np.any(noisy != calm) and np.any(noisy != other)


def test_islands_are_the_official_squares():
    """From given centres those of compute_block_mask_2d, the border cutting them."""
    centres = jnp.array([[0, 37, 37, 195]])
    shown = np.asarray(island_squares(centres, (14, 14), side=3)).reshape(14, 14)
    expected = np.zeros((14, 14), bool)
    for row, column in ((0, 0), (2, 9), (13, 13)):
        for r in (-1, 0, 1):
            for c in (-1, 0, 1):
                expected[np.clip(row + r, 0, 13), np.clip(column + c, 0, 13)] = True
    np.testing.assert_array_equal(shown, expected)


@full
def test_islands_have_the_number_and_stay_together():
    randomness = Randomness.of(jax.random.key(0), 500)
    mask = jax.jit(lambda randomness: islands(randomness, GRID, ratio=0.8))(randomness)
    assert mask.visible.shape == (500, 39) and mask.predict.shape == (500, 157)
    shown = ~np.asarray(mask.hidden).reshape(-1, 14, 14)
    beside = (shown[:, :, 1:] & shown[:, :, :-1]).sum() / shown.sum()
    assert beside > 0.5  # 0.19 for tokens drawn one by one
    frequency = shown.mean(0)
    assert frequency[4:10, 4:10].mean() == pytest.approx(0.2, abs=0.05)
    with pytest.raises(MaskError, match="rows, columns"):
        islands(randomness, Context({}, {"sound": (64,)}, {}), ratio=0.8)


@full
def test_repeated_masks_are_independent_and_predicted_each():
    randomness = Randomness.of(jax.random.key(0), 50)
    masks = repeated(randomness, GRID, ratio=0.8, sampler=islands, views=3)
    first, second, third = (np.asarray(mask.hidden) for mask in masks)
    for one, other in ((first, second), (second, third), (first, third)):
        assert 0.5 < (one & other).mean() < 0.75  # 0.64 where independent
        assert (one != other).any(axis=1).all()


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ModelError, match="odd side"):
        MODEL(SPEC, decoder_side=2)
    with pytest.raises(ModelError, match="groups"):
        MODEL(SPEC, groups=3)
    with pytest.raises(ConfigError, match="use B/16 or L/16"):
        load("data2vec2:variant=H/14")


@pytest.mark.parametrize(
    ("variant", "batch", "rate", "layers", "hidden", "of_class"),
    [("B/16", 256, 1e-3, 10, 0.8, 2.56), ("L/16", 128, 4e-4, 18, 0.75, 1.28)],
)
def test_the_published_recipes(variant, batch, rate, layers, hidden, of_class):
    """The numbers of config/v2/*_images_only_task.yaml, so that nobody changes one unawares."""
    config = load(f"data2vec2:variant={variant}")
    steps = config.train.epochs * 1_281_167 / batch
    assert steps == pytest.approx(375_300)
    assert config.schedule.warmup_epochs / config.train.epochs == pytest.approx(50_040 / 375_300)
    optim = config.optim
    assert (optim.lr, optim.lr_per, optim.b2, optim.weight_decay) == (rate, 0, 0.95, 0.05)
    assert (config.train.batch_size, optim.clip_norm) == (batch, 4.0)
    assert (config.mask.views, config.mask.ratio, config.mask.sampler.side) == (16, hidden, 3)
    assert config.predicts == tuple(range(16))
    teacher, scales = config.teachers.average, config.objectives
    assert (teacher.find.layers, teacher.momentum.start) == (layers, 0.9998)
    assert teacher.momentum.end == 0.99999
    assert scales["class"].scale / scales.features.scale == pytest.approx(of_class)
    assert scales.features.scale**2 == pytest.approx(768 if variant == "B/16" else 1024)


@pytest.mark.parametrize("choice", ["", ":small", ":tiny"])
def test_collapse_is_watched(choice):
    assert {"effective_rank", "feature_std"} <= set(load(f"data2vec2{choice}").evals.monitors)
