"""I-JEPA: equal to the official code; targets apart, one pass of the context, a teacher apart."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.losses.regression import smooth_l1
from maskmim.methods.views import masked_views
from maskmim.models.jepa import vit_jepa
from maskmim.objectives.matching import match
from maskmim.teachers.average import average
from maskmim.teachers.features import last_tokens
from maskmim.teachers.momentum import linear
from maskmim.training.build import build_method
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Mask, Randomness, Spec, Variables
from tests.comparing import close
from tests.golden.ijepa import case
from tests.methods.recorded_views import check_gradients, official_variables, recorded

full = pytest.mark.full
SPEC = Spec((case.IMAGE, case.IMAGE), 3, (0.0,) * 3, (1.0,) * 3, dtype="float32")
RANDOMNESS = Randomness.of(jax.random.key(0), case.EXAMPLES)
MODEL = partial(
    vit_jepa,
    variant="x".join(map(str, case.ENCODER)),
    patch=(case.PATCH, case.PATCH),
    predictor="x".join(map(str, case.PREDICTOR)),
)


def given_masks(randomness, context):
    """The case's masks, which share their context."""
    seen, targets = (jnp.asarray(each, jnp.int32) for each in case.places())
    rows = jnp.arange(case.EXAMPLES)[:, None]
    hidden = jnp.ones((case.EXAMPLES, context.length), bool).at[rows, seen].set(False)
    return tuple(Mask(seen, each, hidden, jnp.ones(each.shape)) for each in targets)


def method(net, target):
    """I-JEPA at the case's size, over a network."""
    find = {"head": "features", "target": target, "loss": smooth_l1}
    rising = partial(linear, start=0.996, end=1.0)
    teacher = partial(average, find=last_tokens, momentum=rising, parts=("encoder",))
    return masked_views(
        SPEC,
        model=lambda spec: net,
        mask=given_masks,
        objectives={"features": partial(match, **find)},
        pairs={},
        teachers={"average": teacher},
        predicts=tuple(range(case.TARGETS)),
    )


@cache
def example():
    """(network, variables with the official weights, pictures)."""
    net = MODEL(SPEC)
    return net, official_variables(case, net), case.pictures().transpose(0, 2, 3, 1)


@cache
def run():
    """Return what the step makes, and gradients.

    (loss, (predictions, targets), masks of the encoder's passes, gradients of the loss to params,
    average and pictures, gradients of the first target's predictions to the pictures).
    """
    net, variables, pictures = example()
    record = recorded(net)
    made = method(record.net, record.target)

    def loss(params, extra, pictures):
        record.clear()
        trained = Variables(params, extra, variables.frozen)
        losses = made.loss(trained, {"image": pictures}, RANDOMNESS, jnp.float32(0))
        found = jnp.stack(record.predictions), jnp.stack(record.targets)
        return losses.terms["features"].value, found

    @jax.jit
    def both(params, extra, pictures):
        back = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(params, extra, pictures)
        return back, jax.grad(lambda x: jnp.sum(loss(params, extra, x)[1][0][0]))(pictures)

    ((value, parts), gradients), of_first = both(*variables[:2], pictures)
    return value, parts, record.passes, gradients, of_first


@full
def test_predictions_targets_loss_and_gradients_equal_the_official_code():
    golden = np.load(case.GOLDEN)
    value, (predictions, targets), _, (params, extra, _), _ = run()
    close(value, golden["loss"], name="loss")
    close(predictions, golden["predictions"], name="predictions")
    close(targets, golden["targets"], name="targets")
    check_gradients(case, params, extra)


@full
def test_pictures_and_context_are_encoded_once_for_all_targets():
    assert [mask is None for mask in run()[2]] == [True, False]


@full
def test_loss_and_predictions_read_the_context_alone():
    places, side = case.places()[0], case.IMAGE // case.PATCH
    *_, (_, _, of_loss), of_first = run()
    for gradient in (of_loss, of_first):
        cut = np.abs(gradient).reshape(len(places), side, case.PATCH, side, case.PATCH, 3)
        reached = cut.sum((2, 4, 5)).reshape(len(places), -1) > 0
        for tokens, seen in zip(reached, places, strict=True):
            assert np.flatnonzero(tokens).tolist() == seen.tolist()


@full
def test_a_target_is_predicted_from_its_own_places_and_the_context():
    """Each target alone has the official predictions of both; other places have others."""
    net, variables, pictures = example()
    first, second = given_masks(None, Context({}, net.grids, {}))

    @jax.jit
    def predict(mask):
        encoded = net.encode(variables.params, pictures, mask)
        return net.predict(variables.params, encoded, mask)["features"]

    golden = np.load(case.GOLDEN)["predictions"]
    close(predict(first), golden[0])
    close(predict(second), golden[1])
    moved = second._replace(predict=jnp.flip(second.predict, 1))
    close(jnp.flip(predict(moved), 1), golden[1])  # A prediction goes with its place.
    assert np.abs(golden[0] - golden[1]).max() > 0.1


@full
def test_the_teacher_follows_the_student():
    _, method_of_tiny = build_method(load("ijepa:tiny"))
    variables = jax.jit(method_of_tiny.variables)(jax.random.key(0))
    moved = variables._replace(params=jax.tree.map(lambda leaf: leaf + 1, variables.params))
    extra = method_of_tiny.refresh(moved, {"features": ()}, jnp.float32(0.5))
    teacher, evaluated = extra["method"]["average"]["encoder"], extra["average"]["encoder"]
    for (path, old), new, read in zip(
        named_leaves(variables.params["encoder"]),
        jax.tree.leaves(teacher),
        jax.tree.leaves(evaluated),
        strict=True,
    ):
        np.testing.assert_allclose(new, old + 0.05, rtol=1e-5, atol=1e-6, err_msg=path)
        np.testing.assert_array_equal(read, new, err_msg=path)


def test_the_published_recipe():
    """The numbers of configs/in1k_vith14_ep300.yaml, so that nobody changes one unawares."""
    config = load("ijepa")
    optim, schedule, mask = config.optim, config.schedule, config.mask
    assert (config.train.batch_size, config.train.epochs, optim.lr, optim.lr_per) == (
        2048,
        300,
        1e-3,
        0,
    )
    assert (optim.weight_decay, optim.weight_decay_end, optim.clip_norm) == (0.04, 0.4, np.inf)
    assert (schedule.warmup_epochs, schedule.initial, schedule.final) == (40, 0.2, 1e-3)
    assert (mask.targets, mask.target_scale, mask.target_aspect, mask.context_scale) == (
        4,
        (0.15, 0.2),
        (0.75, 1.5),
        (0.85, 1.0),
    )
    assert config.predicts == (0, 1, 2, 3) and config.model.predictor == "12x384x16"
    assert load("ijepa:variant=B/16").model.predictor == "6x384x12"
    rising = config.teachers.average.momentum
    assert (rising.start, rising.end, config.ema.start, config.ema.end) == (0.996, 1, 0.996, 1)
    assert (config.data.augment.scale, config.data.augment.flip) == ((0.3, 1.0), 0.0)


@pytest.mark.parametrize("choice", ["", ":small", ":tiny"])
def test_collapse_is_watched(choice):
    assert {"effective_rank", "feature_std"} <= set(load(f"ijepa{choice}").evals.monitors)
