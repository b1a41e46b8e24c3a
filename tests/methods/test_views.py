"""The method of views: which view sees, predicts and reads what, and what the step gets of it."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.config import facts
from maskmim.losses.regression import squared_error
from maskmim.masks import uniform, views
from maskmim.methods.masked import MethodError, masked
from maskmim.methods.views import masked_views
from maskmim.models.projectors import mlp
from maskmim.objectives.contrastive import info_nce
from maskmim.objectives.matching import match
from maskmim.objectives.pairs import agree_hidden, cosine_pair
from maskmim.planning.cost import tokens_per_example
from maskmim.targets.pixels import patches
from maskmim.teachers.average import average
from maskmim.teachers.features import last_tokens
from maskmim.teachers.momentum import constant
from maskmim.teachers.projections import projected_mean
from maskmim.training.train_step import make_train_step
from maskmim.types import Context, Objective, Randomness
from tests.compiling import quick_jit
from tests.tiny import SPEC, begin, pictures, tiny_model
from tests.tolerances import REORDERED

pytestmark = pytest.mark.full

EXAMPLES = 4
AT_HALF = partial(constant, value=0.5)
RANDOMNESS = Randomness.of(jax.random.key(3), EXAMPLES)
PIXELS = partial(match, head="pixels", target=patches, loss=squared_error)


def method(**changes):
    """Two disjoint views of 4x3 tokens, three visible in each; pixels of the first."""
    parts = {
        "model": tiny_model(),
        "mask": partial(views.disjoint, ratio=0.75),
        "objectives": {"pixels": PIXELS},
        "pairs": {},
        "teachers": {},
        "calls": {},
    }
    return masked_views(SPEC, **{**parts, **changes})


def two_views(seed=0):
    """Views u8[EXAMPLES, 2, 32, 24, 3] of different pictures."""
    return np.stack([pictures(EXAMPLES, seed), pictures(EXAMPLES, seed + 100)], axis=1)


def values(made, variables, batch, randomness=RANDOMNESS):
    """The terms of the loss by name."""
    losses = jax.jit(made.loss)(variables, batch, randomness, jnp.float32(0))
    return {name: float(term.value) for name, term in losses.terms.items()}


def test_a_view_is_what_masked_makes_of_it():
    """With the second view's mask, `masked` on the second view has the same loss."""
    made = method(predicts=(1,))
    batch, variables = {"views": two_views()}, made.variables(jax.random.key(0))

    def second(randomness, context):
        return views.disjoint(randomness, context, ratio=0.75)[1]

    alone = masked(
        SPEC, model=tiny_model(), mask=second, objectives={"pixels": PIXELS}, teachers={}
    )
    expected = values(alone, variables, {"image": batch["views"][:, 1]})
    assert values(made, variables, batch)["pixels"] == pytest.approx(expected["pixels"], rel=1e-6)


def test_an_objective_is_averaged_over_the_tokens_of_all_predicted_views():
    sampler = partial(views.asymmetric, ratios=(0.5, 0.75))
    batch = {"views": two_views()}
    found = []
    for predicts in ((0,), (1,), (0, 1)):
        made = method(mask=sampler, predicts=predicts)
        found.append(values(made, made.variables(jax.random.key(0)), batch)["pixels"])
    assert found[2] == pytest.approx((6 * found[0] + 9 * found[1]) / 15, rel=1e-5)
    assert abs(found[0] - found[1]) > 1e-3


def test_a_batch_of_the_stream_alone_is_that_picture_in_every_view():
    made = method(predicts=(0, 1), pairs={"pair": partial(cosine_pair, project=None, predict=None)})
    variables, image = made.variables(jax.random.key(0)), pictures(EXAMPLES)
    stream = values(made, variables, {"image": image})
    assert stream == values(made, variables, {"views": np.stack([image, image], axis=1)})
    both = {"views": two_views(), "image": pictures(EXAMPLES, 9)}
    assert values(made, variables, both) == values(made, variables, {"views": both["views"]})
    encode = jax.jit(made.apply["encode"])
    np.testing.assert_array_equal(
        encode(variables, both).tokens, encode(variables, {"image": both["image"]}).tokens
    )
    first = encode(variables, {"image": both["views"][:, 0]}).tokens
    np.testing.assert_array_equal(encode(variables, {"views": both["views"]}).tokens, first)


def given_memory(net, record):
    """The network, whose predictor records what it is given."""

    def predict(params, encoded, mask, *, randomness=None):
        record.append((encoded, mask))
        outputs = net.predict(params, encoded, mask)
        if "memory" not in encoded.given:
            return outputs
        shift = jnp.mean(encoded.given["memory"], axis=(1, 2))
        return {name: values + shift[:, None, None] for name, values in outputs.items()}

    return net._replace(predict=predict, reads=("memory",))


def test_a_reader_gets_the_tokens_of_the_other_view_and_gradients_pass():
    record = []
    made = method(
        model=lambda spec: given_memory(tiny_model()(spec), record),
        mask=partial(views.asymmetric, ratios=(0.0, 0.75)),
        predicts=(1,),
        reads=((1, 0),),
    )
    variables = made.variables(jax.random.key(0))

    def loss(views):
        return made.loss(variables, {"views": views}, RANDOMNESS, 0.0).terms["pixels"].value

    gradient = jax.grad(loss)(two_views().astype(np.float32) / 255)
    assert np.all(np.any(gradient, axis=(2, 3, 4)))
    record.clear()
    made.loss(variables, {"views": two_views()}, RANDOMNESS, 0.0)
    (encoded, mask), *others = record  # one predictor runs, on the second view
    assert not others and mask.visible.shape == (EXAMPLES, 3)
    net = made.net
    whole = net.encode(variables.params, net.inputs({"image": two_views()[:, 0]}), None)
    memory = np.concatenate([whole.prefix, whole.tokens], axis=1)
    assert memory.shape == (EXAMPLES, 13, 32)
    np.testing.assert_allclose(encoded.given["memory"], memory, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(
        encoded.given["memory_places"], np.broadcast_to(np.arange(12), (EXAMPLES, 12))
    )


def test_a_view_that_does_not_predict_runs_no_predictor():
    record = []
    model = lambda spec: given_memory(tiny_model()(spec), record)  # noqa: E731
    for predicts, count in (((), 0), ((0,), 1), ((0, 1), 2)):
        made = method(
            model=model,
            objectives={"pixels": PIXELS} if predicts else {},
            pairs={"pair": partial(cosine_pair, project=None, predict=None)},
            predicts=predicts,
        )
        variables = made.variables(jax.random.key(0))
        record.clear()
        jax.eval_shape(made.loss, variables, {"views": two_views()}, RANDOMNESS, jnp.float32(0))
        assert len(record) == count


def test_tokens_are_counted_over_all_views_and_predictions_where_they_are_made():
    batch = {"views": two_views()}
    for predicts, predicted in (((0,), 6), ((1,), 9), ((0, 1), 15)):
        made = method(mask=partial(views.asymmetric, ratios=(0.5, 0.75)), predicts=predicts)
        tokens = tokens_per_example(made, made.variables(jax.random.key(0)), batch)
        assert tokens == (24, 9, predicted)


def test_pictures_and_reconstruction_are_of_the_first_view_that_predicts():
    made = method(mask=partial(views.asymmetric, ratios=(0.0, 0.75)), predicts=(1,))
    batch, variables = {"views": two_views()}, made.variables(jax.random.key(0))
    found = made.apply["reconstruct"](variables, batch, RANDOMNESS)
    drawn = made.apply["mask"](variables, batch, RANDOMNESS)
    inputs = made.net.inputs({"image": batch["views"][:, 1]})
    for each in (found, drawn):
        np.testing.assert_array_equal(each["inputs"], inputs)
        assert each["mask"].predict.shape == (EXAMPLES, 9)
    assert found["pixels"].shape == found["target"].shape == (EXAMPLES, 9, 192)
    sheet = made.sheets["views"](variables, batch, RANDOMNESS)
    assert list(sheet) == ["view 0", "seen of view 0", "view 1", "seen of view 1"]
    for number in range(2):
        np.testing.assert_allclose(sheet[f"view {number}"], batch["views"][:, number], atol=1)
        changed = np.any(sheet[f"seen of view {number}"] != sheet[f"view {number}"], axis=-1)
        hidden = np.asarray(drawn["masks"][number].hidden).reshape(EXAMPLES, 4, 3)
        cells = changed.reshape(EXAMPLES, 4, 8, 3, 8).any(axis=(2, 4))
        np.testing.assert_array_equal(cells, hidden)


@facts.finder(gives=("brightness",))
def brightness(net, params, context):
    """The mean of each example, as a hint."""
    return {"brightness": jnp.mean(net.inputs(context.batch), axis=(1, 2, 3))}


def test_a_teacher_is_asked_for_each_view():
    seen = {}

    def recorder(name):
        def find(view):
            seen[name] = view.context.hints["brightness"], view.inputs
            return jnp.zeros((EXAMPLES, 1)), jnp.ones((EXAMPLES, 1)), {}, ()

        return lambda: Objective(("brightness",), 1.0, find, "nothing")

    teacher = partial(average, find=brightness, momentum=AT_HALF)
    for number in range(2):
        made = method(
            objectives={"x": recorder(number)}, teachers={"mean": teacher}, predicts=(number,)
        )
        made.loss(made.variables(jax.random.key(0)), {"views": two_views()}, RANDOMNESS, 0.0)
    for hint, inputs in seen.values():
        np.testing.assert_allclose(hint, np.mean(inputs, axis=(1, 2, 3)), rtol=1e-4, atol=1e-5)
    assert np.abs(seen[0][0] - seen[1][0]).min() > 0


def contrastive(queue=6):
    """A method with every pair objective, a queue and a teacher, without batch norm."""
    calls = {name: partial(mlp, hidden=8, values=5, norm="none") for name in ("projector", "keys")}
    teacher = partial(average, find=projected_mean, momentum=partial(constant, value=0.9))
    return method(
        pairs={
            "contrast": partial(info_nce, queue=queue, hint="projection"),
            "plain": partial(info_nce, project="keys", queue=0),
            "hidden": partial(agree_hidden, head="pixels", scale=0.5),
        },
        predicts=(0, 1),
        calls=calls,
        teachers={"average": teacher},
    )


@cache
def trained():
    """The states after none, one, two and three steps, and the metrics of the last."""
    made, optimiser = contrastive(), optax.sgd(0.1)
    state, frozen = begin(made, optimiser)
    step = quick_jit(make_train_step(made, optimiser, seed=0, total_steps=3))
    states, metrics = [state], {}
    for number in range(3):
        state, metrics = step(state, frozen, {"views": two_views(number)})
        states.append(state)
    return made, states, metrics


def test_the_step_names_every_term_and_keeps_the_queue():
    _, (begun, *_, state), metrics = trained()
    names = {"loss/pixels", "loss/contrast", "loss/plain", "loss/hidden"}
    names |= {"contrast/accuracy", "contrast/spread", "plain/accuracy", "hidden/tokens"}
    assert names <= set(metrics)
    assert float(metrics["hidden/tokens"]) == 6  # disjoint sets of three visible tokens of twelve
    assert set(state.extra) == {"average", "pairs"} and set(state.extra["pairs"]) == {"contrast"}
    keys = state.extra["pairs"]["contrast"]["keys"]
    np.testing.assert_allclose(np.linalg.norm(keys, axis=-1), 1, rtol=1e-5)
    assert not np.any(np.asarray(keys) == np.asarray(begun.extra["pairs"]["contrast"]["keys"]))


def test_the_queue_holds_the_teachers_keys_of_the_last_step():
    """A step has eight keys, four examples in two views; the first six of them fill the queue."""
    made, (*_, before, after), _ = trained()
    hints = []
    for number in range(2):
        batch = {"image": two_views(2)[:, number]}
        context = Context(batch, made.net.grids, {})
        found = projected_mean(made.net, before.extra["average"], context)["projection"]
        hints.append(found / np.linalg.norm(found, axis=-1, keepdims=True))
    expected = np.stack(hints, axis=1).reshape(-1, 5)[:6]
    np.testing.assert_allclose(
        after.extra["pairs"]["contrast"]["keys"], expected, rtol=1e-3, atol=1e-5
    )


def test_what_compares_no_examples_is_independent_of_micro_batches():
    made = method(
        predicts=(0, 1),
        pairs={"pair": partial(cosine_pair), "hidden": partial(agree_hidden, head="pixels")},
        calls=dict.fromkeys(("projector", "predictor"), partial(mlp, hidden=8, norm="layer")),
    )
    found = []
    for micro_batches in (1, 2):
        optimiser = optax.sgd(0.1)
        state, frozen = begin(made, optimiser)
        step = make_train_step(made, optimiser, seed=0, total_steps=2, micro_batches=micro_batches)
        found.append(quick_jit(step)(state, frozen, {"views": two_views()})[0].params)
    for one, other in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=REORDERED)


UNPROJECTED = partial(cosine_pair, project=None, predict=None)
AVERAGE = partial(average, find=last_tokens, momentum=partial(constant, value=0.9))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"predicts": ()}, "objectives has pixels, but predicts is empty"),
        ({"predicts": (0, 0)}, "names a view twice"),
        ({"objectives": {}}, "objectives and pairs are both empty"),
        (
            {"objectives": {"pixels": partial(PIXELS, scale=0.0)}},
            r"the scale 0 \(objectives\.pixels\).*objectives\.pixels\.scale above 0",
        ),
        (
            {"pairs": {"ema": UNPROJECTED}, "teachers": {"ema": AVERAGE}},
            r"teachers\.ema and pairs\.ema share a name",
        ),
        ({"reads": ((0, 0),)}, r"reads has \(0, 0\)"),
        ({"reads": ((1, 0),)}, r"reads has \(1, 0\): a view that predicts"),
        ({"predicts": (1,), "reads": ((1, 0),)}, "the predictor of the model reads no other view"),
        ({"pairs": {"pixels": partial(cosine_pair, project=None, predict=None)}}, "share a name"),
        ({"pairs": {"pair": cosine_pair}}, r"pairs\.pair calls predictor, projector"),
        (
            {"pairs": {"pair": partial(info_nce, project=None, hint="x")}},
            r"needs the hints \['x'\]",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_when_the_method_is_built(changes, sentence):
    with pytest.raises(MethodError, match=sentence):
        method(**changes)


@pytest.mark.parametrize(
    ("changes", "batch", "sentence"),
    [
        ({"mask": partial(uniform.random, ratio=0.75)}, {}, "draws one mask, but this method"),
        ({"mask": partial(views.disjoint, ratio=0.75, views=3)}, {}, "has 2 views, but .* 3 masks"),
        ({"predicts": (2,)}, {}, "name the view 2, but .* views 0 to 1"),
        ({}, {"global": two_views()}, "holds global, but neither 'views' nor 'image'"),
    ],
)
def test_views_that_do_not_fit_are_refused_before_the_first_step(changes, batch, sentence):
    made = method(**changes)
    variables, batch = made.variables(jax.random.key(0)), batch or {"views": two_views()}
    with pytest.raises(MethodError, match=sentence):
        jax.eval_shape(made.apply["mask"], variables, batch, RANDOMNESS)
