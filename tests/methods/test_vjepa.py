"""V-JEPA: equal to the official code; two masks of equal weight, each with a token of its own."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.losses.regression import absolute_error
from maskmim.masks.core import MaskError
from maskmim.masks.multiblock import tube_counts, tubes
from maskmim.masks.views import each
from maskmim.methods.views import masked_views
from maskmim.models.jepa import vit_vjepa
from maskmim.models.layers.posembed import sincos, sincos_cut
from maskmim.objectives.matching import match
from maskmim.teachers.average import average
from maskmim.teachers.features import last_tokens
from maskmim.teachers.momentum import linear
from maskmim.types import Context, Mask, Randomness, Spec, Variables
from tests.comparing import close
from tests.golden.vjepa import case
from tests.methods.recorded_views import check_gradients, official_variables, recorded

full = pytest.mark.full
SIZE = (case.FRAMES, case.IMAGE, case.IMAGE)
SPEC = Spec(SIZE, 3, (0.0,) * 3, (1.0,) * 3, "video", "float32")
GRID = Context({}, {"video": (8, 14, 14)}, {})
SHORT = partial(tubes, blocks=8, scale=0.15, seen=0.22, predicted=0.48)
LONG = partial(tubes, blocks=2, scale=0.7, seen=0.06, predicted=0.7)


def given_mask(randomness, context, *, number):
    """A mask of the case, as a sampler."""
    seen, asked = (jnp.asarray(places, jnp.int32) for places in case.places()[number])
    rows = jnp.arange(case.EXAMPLES)[:, None]
    hidden = jnp.ones((case.EXAMPLES, context.length), bool).at[rows, seen].set(False)
    return Mask(seen, asked, hidden, jnp.ones(asked.shape))


def method(net, target):
    """V-JEPA at the case's size, over a network."""
    find = {"head": "features", "target": target, "loss": absolute_error}
    rising = partial(linear, start=0.998, end=1.0)
    teacher = partial(average, find=last_tokens, momentum=rising, parts=("encoder",))
    samplers = {str(number): partial(given_mask, number=number) for number in (0, 1)}
    return masked_views(
        SPEC,
        model=lambda spec: net,
        mask=partial(each, samplers=samplers),
        objectives={"features": partial(match, **find)},
        pairs={},
        teachers={"average": teacher},
        predicts=(0, 1),
    )


@cache
def run():
    """Loss, (predictions, targets) of both masks, passes of the encoder, and gradients."""
    net = vit_vjepa(
        SPEC,
        variant="x".join(map(str, case.ENCODER)),
        patch=(case.TUBELET, case.PATCH, case.PATCH),
        predictor="x".join(map(str, case.PREDICTOR)),
    )
    student, kept, _ = official_variables(case, net)
    record = recorded(net)
    made = method(record.net, record.target)

    def loss(params, extra, clips):
        trained = Variables(params, extra, {"average": ()})
        losses = made.loss(trained, {"video": clips}, RANDOMNESS, jnp.float32(0))
        return losses.terms["features"].value, (tuple(record.predictions), tuple(record.targets))

    back = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    (value, parts), gradients = back(student, kept, case.clips().transpose(0, 2, 3, 4, 1))
    return value, parts, record.passes, gradients


RANDOMNESS = Randomness.of(jax.random.key(0), case.EXAMPLES)


@full
def test_predictions_targets_loss_and_gradients_equal_the_official_code():
    golden = np.load(case.GOLDEN)
    value, (predictions, targets), passes, (params, extra, _) = run()
    close(value, golden["loss"], name="loss")
    for number in (0, 1):
        close(predictions[number], golden[f"predictions_{number}"], name=number)
        close(targets[number], golden[f"targets_{number}"], name=number)
    check_gradients(case, params, extra)
    # The teacher sees the clip once, the student what each mask leaves.
    assert [mask is None for mask in passes] == [True, False, False]


@full
def test_the_student_sees_what_one_of_the_masks_leaves():
    seen = [places for places, _ in case.places()]
    gradient, side = np.abs(run()[3][2]), case.IMAGE // case.PATCH
    shape = (2, case.TUBELET, side, case.PATCH, side, case.PATCH, 3)
    reached = gradient.reshape(case.EXAMPLES, *shape).sum((2, 4, 6, 7)).reshape(2, -1) > 0
    for example in range(case.EXAMPLES):
        expected = sorted({*seen[0][example].tolist(), *seen[1][example].tolist()})
        assert np.flatnonzero(reached[example]).tolist() == expected


@full
@pytest.mark.parametrize(("sampler", "seen", "asked"), [(SHORT, 43, 94), (LONG, 12, 137)])
def test_tubes_have_exact_numbers_and_lie_inside_the_blocks(sampler, seen, asked):
    randomness = Randomness.of(jax.random.key(3), 400)
    mask = jax.jit(lambda randomness: sampler(randomness, GRID))(randomness)
    assert (mask.visible.shape, mask.predict.shape) == ((400, 8 * seen), (400, 8 * asked))
    visible, predict = (np.zeros((400, 8, 196), bool) for _ in range(2))
    rows = np.arange(400)[:, None]
    visible.reshape(400, -1)[rows, mask.visible] = True
    predict.reshape(400, -1)[rows, mask.predict] = True
    assert not (visible & predict).any()
    np.testing.assert_array_equal(mask.hidden, ~visible.reshape(400, -1))
    for chosen in (visible, predict):  # the same places at all times
        np.testing.assert_array_equal(chosen, np.repeat(chosen[:, :1], 8, axis=1))
    for places in (mask.visible, mask.predict):
        assert (np.diff(places) > 0).all()
    # Blocks: neighbours of a predicted place are far more often predicted than others are.
    frame = predict[:, 0].reshape(-1, 14, 14)
    beside = (frame[:, :, 1:] & frame[:, :, :-1]).sum() / frame[:, :, 1:].sum()
    assert beside > asked / 196 + 0.1


@full
def test_both_masks_have_the_same_weight_in_the_loss():
    randomness = Randomness.of(jax.random.key(0), 2)
    masks = each(randomness, GRID, samplers={"a": SHORT, "b": LONG})
    totals = [float(mask.weight.sum()) for mask in masks]
    assert totals == pytest.approx([2.0, 2.0], rel=1e-5)


def test_positions_are_sincos_in_another_order_where_all_parts_fit():
    table = sincos_cut(24, (2, 3, 4))
    parts = np.split(sincos(24, (2, 3, 4)), 3, axis=1)[::-1]
    np.testing.assert_allclose(table, np.concatenate(parts, axis=1), atol=1e-6)
    assert sincos_cut(16, (2, 3, 4)).shape == (24, 16)


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(MaskError, match="more than there are"):
        tube_counts((8, 14, 14), seen=0.5, predicted=0.6)
    with pytest.raises(MaskError, match="time, rows, columns"):
        tube_counts((14, 14), seen=0.1, predicted=0.6)


def test_the_published_recipe():
    """The numbers of configs/pretrain/vitl16.yaml, so that nobody changes one unawares."""
    config = load("vjepa:path=videos")
    optim, schedule = config.optim, config.schedule
    assert (config.train.batch_size, optim.lr, optim.lr_per) == (3072, 6.25e-4, 0)
    assert (optim.weight_decay, optim.weight_decay_end, optim.stretch) == (0.04, 0.4, 1.25)
    assert schedule.warmup_epochs / config.train.epochs == pytest.approx(40 / 300)
    assert (schedule.initial * optim.lr, schedule.final * optim.lr) == pytest.approx((2e-4, 1e-6))
    assert schedule.stretch == 1.25
    samplers = config.mask.samplers
    assert (samplers.short.blocks, samplers.short.scale) == (8, 0.15)
    assert (samplers.long.blocks, samplers.long.scale) == (2, 0.7)
    rising = config.teachers.average.momentum
    assert (rising.start, rising.end) == pytest.approx((0.998, 0.9996))
    assert config.model.predictor == "12x384x16" and config.input.size == (16, 224, 224)


@pytest.mark.parametrize("choice", ["path=videos", "small", "tiny"])
def test_collapse_is_watched(choice):
    assert {"effective_rank", "feature_std"} <= set(load(f"vjepa:{choice}").evals.monitors)
