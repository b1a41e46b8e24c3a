"""ROPIM: the network sees the projected tokens alone, and is asked for what was removed."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.interop.layout import arrays_of, check_covered, params_of, shapes_of
from maskmim.losses.regression import absolute_error
from maskmim.masks.projection import Projection, complement, draw, project
from maskmim.masks.roles import everything
from maskmim.methods.projected import projected
from maskmim.models.ropim import projected_vit
from maskmim.objectives.removed import removed
from maskmim.targets.pixels import patches
from maskmim.types import Context, Encoded, Mask, Randomness, Spec, Variables, View
from tests.comparing import close
from tests.compiling import quick_jit
from tests.golden.ropim import case
from tests.tolerances import PARITY, REORDERED

pytestmark = pytest.mark.full

SPEC = Spec((case.IMAGE, case.IMAGE), 3, (0.0,) * 3, (1.0,) * 3, dtype="float32")
TOKENS = (case.IMAGE // case.PATCH) ** 2
MODEL = partial(
    projected_vit,
    variant="x".join(map(str, case.ENCODER)),
    patch=(case.PATCH, case.PATCH),
    drop_path=0.0,
)
ERROR = partial(removed, head="pixels", target=patches, loss=absolute_error)


def method_of(projection):
    return projected(
        SPEC,
        model=MODEL,
        mask=everything,
        projection=projection,
        objectives={"pixels": ERROR},
        teachers={},
    )


@cache
def official():
    """Return our params with the official weights, {name: shape}, and what was recorded."""
    net, entries = MODEL(SPEC), case.layout()
    shapes = shapes_of(net)
    check_covered(entries, shapes, "the official layout")
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape), jax.eval_shape(net.init, seed()))
    theirs = {name: array.shape for name, array in arrays_of(entries, blank).items()}
    arrays = {name: case.weight(name, shape) for name, shape in theirs.items()}
    return params_of(entries, shapes, arrays), theirs, dict(np.load(case.GOLDEN))


def seed(number=0):
    return jax.random.key(number)


def recorded_projection(factor=case.FACTOR):
    """The official buckets and signs as a Projection."""
    _, _, golden = official()
    buckets, signs = golden["buckets"].astype(np.int32), golden["signs"].astype(np.float32)
    count = buckets.max() + 1
    places = np.arange(TOKENS) // count * count + buckets
    slots = np.argsort(places, axis=1).reshape(len(buckets), -1, count)
    factors = np.full((len(buckets), count), factor, np.float32)
    return Projection(*map(jnp.asarray, (slots, places, signs, factors)))


def context_of(net):
    return Context({}, net.grids, {})


def whole_mask(net) -> Mask:
    return everything(Randomness.of(seed(), case.EXAMPLES), context_of(net))


@cache
def found():
    """Return loss, gradients of (params, picture), metrics, and predicted pictures."""
    params, _, _ = official()
    method = method_of(lambda randomness, context: recorded_projection())
    net, randomness = method.net, Randomness.of(seed(), case.EXAMPLES)

    def loss(params, image):
        losses = method.loss(Variables(params, {}, {}), {"image": image}, randomness, 0.0)
        return losses.terms["pixels"].value, losses.metrics

    @quick_jit
    def run(params, image):
        encoded = net.encode(params, image, None, projection=recorded_projection())
        outputs = net.predict(params, encoded, whole_mask(net))
        return jax.value_and_grad(loss, has_aux=True)(params, image), net.restore(outputs["pixels"])

    ((value, metrics), gradients), predicted = run(params, case.pictures())
    return value, gradients, metrics, predicted


@pytest.mark.proves(121, "predictions, loss and gradients equal the official model's")
def test_equals_the_official_model():
    _, theirs, golden = official()
    loss, gradients, _, predicted = found()
    worst = [close(predicted, golden["predicted"], PARITY), close(loss, golden["loss"], PARITY)]
    learnt = {name: shape for name, shape in theirs.items() if not name.endswith("k_bias")}
    ends = np.cumsum([np.prod(shape) for shape in learnt.values()])
    expected = dict(zip(learnt, np.split(golden["gradients"], ends[:-1]), strict=True))
    ours = arrays_of(case.layout(), gradients)
    for name, shape in learnt.items():
        worst.append(close(ours[name], expected[name].reshape(shape), PARITY, name))
        assert np.any(ours[name]), name
    print(f"\nat most {max(worst):.1e}")


@cache
def exact():
    """Return (net, params, jitted (picture) -> features) under a true projector."""
    params, _, _ = official()
    net, projection = MODEL(SPEC), recorded_projection(1 / 6)
    encode = quick_jit(lambda image: net.encode(params, image, None, projection=projection).tokens)
    return net, projection, encode


@pytest.mark.proves(121, "what the projection removes of a picture reaches no feature")
def test_the_removed_part_is_unseen():
    net, projection, encode = exact()
    image = case.pictures()
    noise = np.random.default_rng(1).standard_normal(image.shape).astype(np.float32)
    parts = [part(projection, net.patchify(noise)) for part in (complement, project)]
    features = encode(image)
    close(encode(image + net.restore(parts[0])), features, 10 * REORDERED)
    moved = np.abs(np.asarray(encode(image + net.restore(parts[1])) - features))
    assert moved.max() > 0.1


@pytest.mark.proves(121, "the loss asks for the removed part alone")
def test_kept_parts_of_predictions_change_no_loss():
    net, projection, _ = exact()
    rng = np.random.default_rng(2)
    error = rng.standard_normal((case.EXAMPLES, TOKENS, 48)).astype(np.float32)
    view = partial(as_view, net, projection)
    find = jax.jit(lambda prediction: ERROR().find(view(prediction))[0].mean())
    loss, gradient = jax.value_and_grad(find)(error)
    kept, gone = project(projection, error), complement(projection, error)
    close(find(error + 3 * kept), loss, REORDERED)
    close(find(error - kept), loss, REORDERED)
    assert abs(float(find(error + 3 * gone)) - float(loss)) > 0.1
    assert np.abs(project(projection, gradient)).max() < 1e-6 < np.abs(gradient).max() / 100


def as_view(net, projection, prediction):
    nothing = jnp.zeros((case.EXAMPLES, 0, 1))
    encoded = Encoded(nothing, nothing, given={"projection": projection})
    outputs = {"pixels": prediction}
    return View(net, context_of(net), case.pictures(), whole_mask(net), encoded, outputs, {})


def test_the_share_is_one_for_predictions_of_nothing():
    net, projection, _ = exact()
    nothing = jnp.zeros((case.EXAMPLES, TOKENS, 48))
    metrics = ERROR().find(as_view(net, projection, nothing))[2]
    assert float(metrics["share"].value) == 1.0
    right = ERROR().find(as_view(net, projection, net.patchify(case.pictures())))
    assert float(right[2]["share"].value) == 0.0


def test_a_step_draws_a_projection_of_its_own_and_evaluation_none():
    params, _, _ = official()
    method = method_of(partial(draw, size=6))
    variables = Variables(params, {}, {})
    batch = {"image": case.pictures()}

    @quick_jit
    def losses(number):
        randomness = Randomness.of(seed(number), case.EXAMPLES)
        return method.loss(variables, batch, randomness, 0.0).terms["pixels"].value

    assert losses(0) == losses(0) != losses(1)
    features = jax.eval_shape(method.apply["encode"], variables, batch)
    assert features.given == {}
    randomness = Randomness.of(seed(), case.EXAMPLES)
    sheet = jax.eval_shape(method.sheets["pixels"], variables, batch, randomness)
    assert {each.shape for each in sheet.values()} == {case.pictures().shape}
    assert set(sheet) == {"picture", "kept", "restored"}
