"""An objective on one stream: which tokens count, how they are averaged, and its gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_hidden
from maskmim.models.layers.errors import ModelError
from maskmim.models.one_stream import stream_mask, token_slice
from maskmim.objectives.class_maps import classify_map
from maskmim.objectives.in_stream import in_stream
from maskmim.objectives.matching import match
from maskmim.targets.class_maps import ClassMapError
from maskmim.targets.pixels import patches
from maskmim.types import Context, Mask, Mean, Net, View
from tests.tolerances import PARITY

GRIDS = {"image": (2, 2), "depth": (3,), "map": (2, 2)}
# Hidden tokens: image 0-3, depth 4-6, map 7-10. The second example hides none of the picture.
HIDDEN = np.array(
    [
        [1, 0, 1, 1, 0, 1, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 1],
        [0, 1, 0, 0, 1, 0, 1, 0, 1, 1, 1],
    ],
    bool,
)
COUNT = 6


def net():
    """A network of which only grids and patches are needed: an array is its patches."""

    def same(arrays):
        return dict(arrays)

    return Net(GRIDS, 4, None, same, None, None, same, same, same)


def view(outputs, mask=None):
    rng = np.random.default_rng(0)
    inputs = {
        "image": rng.standard_normal((3, 4, 5)).astype(np.float32),
        "depth": rng.standard_normal((3, 3, 2)).astype(np.float32),
        "map": rng.integers(0, 3, (3, 4, 2)).astype(np.int32),
    }
    inputs = {name: jnp.asarray(array) for name, array in inputs.items()}
    mask = from_hidden(jnp.asarray(HIDDEN), count=COUNT) if mask is None else mask
    return View(net(), Context({}, GRIDS, {}), inputs, mask, None, outputs, {})


PIXELS = partial(match, head="pixels", target=patches, loss=squared_error)


def total(objective, seen):
    per_token, weight, _, _ = objective.find(seen)
    return jnp.sum(per_token * weight) / jnp.sum(weight)


def test_tokens_of_streams_stand_one_after_another():
    assert [token_slice(GRIDS, name) for name in GRIDS] == [slice(0, 4), slice(4, 7), slice(7, 11)]


@pytest.mark.parametrize("per_example", [False, True])
def test_the_mean_is_that_of_nanmean_and_its_gradient_is_finite(per_example):
    prediction = jnp.asarray(np.random.default_rng(1).standard_normal((3, 4, 5)), jnp.float32)
    objective = in_stream(stream="image", of=PIXELS, per_example=per_example)
    seen = view({"pixels": prediction})
    errors = np.mean((np.asarray(prediction) - np.asarray(seen.inputs["image"])) ** 2, axis=-1)
    here = HIDDEN[:, :4]
    assert sorted(here.sum(axis=1)) == [0, 1, 3]
    with np.errstate(invalid="ignore"):
        of_examples = (errors * here).sum(axis=1) / here.sum(axis=1)
    expected = np.nanmean(of_examples) if per_example else errors[here].mean()
    assert np.isnan(of_examples[1])
    loss, gradient = jax.value_and_grad(
        lambda prediction: total(objective, view({"pixels": prediction}))
    )(prediction)
    assert float(loss) == pytest.approx(expected, rel=PARITY)
    assert np.all(np.isfinite(gradient)) and not np.any(np.asarray(gradient)[~here])
    assert np.all(np.any(np.asarray(gradient)[here], axis=-1))


def test_weights_of_the_mask_and_tokens_that_are_not_predicted_count_as_given():
    every = from_hidden(jnp.asarray(HIDDEN), count=COUNT)
    weight = jnp.asarray(np.random.default_rng(2).uniform(0.5, 2, (3, 4)), jnp.float32)
    part = every._replace(predict=every.predict[:, 1:5], weight=weight)
    spread = np.zeros((3, 11), np.float32)
    np.put_along_axis(spread, np.asarray(part.predict), np.asarray(weight), axis=1)
    for stream in GRIDS:
        here = token_slice(GRIDS, stream)
        found = stream_mask(part, GRIDS, stream)
        np.testing.assert_array_equal(found.hidden, HIDDEN[:, here])
        np.testing.assert_allclose(found.weight, spread[:, here])
        of_examples = np.asarray(stream_mask(part, GRIDS, stream, per_example=True).weight)
        some = spread[:, here].sum(axis=1) > 0
        np.testing.assert_allclose(of_examples.sum(axis=1), some, rtol=1e-6)


def test_visible_tokens_count_nothing_even_if_predicted():
    shown = jnp.asarray(HIDDEN)
    tokens = jnp.broadcast_to(jnp.arange(11, dtype=jnp.int32), shown.shape)
    mask = Mask(tokens, tokens, shown, jnp.ones(shown.shape, jnp.float32))
    found = stream_mask(mask, GRIDS, "depth")
    np.testing.assert_array_equal(found.weight, HIDDEN[:, 4:7].astype(np.float32))


def test_classes_of_a_map_against_numpy():
    logits = np.random.default_rng(3).standard_normal((3, 4, 6)).astype(np.float32)
    seen = view({"classes": jnp.asarray(logits)})
    objective = in_stream(stream="map", of=partial(classify_map, head="classes"))
    target = np.asarray(seen.inputs["map"])
    by_value = logits.reshape(3, 4, 2, 3).astype(np.float64)
    shifted = by_value - np.log(np.exp(by_value).sum(-1, keepdims=True))
    losses = -np.take_along_axis(shifted, target[..., None], axis=-1)[..., 0].mean(axis=-1)
    here = HIDDEN[:, 7:]
    assert float(total(objective, seen)) == pytest.approx(losses[here].mean(), rel=PARITY)
    right = (by_value.argmax(-1) == target).mean(axis=-1)
    accuracy = objective.find(seen)[2]["accuracy"].value
    assert float(accuracy) == pytest.approx(right[here].mean(), rel=PARITY)


VOIDS = {"some": np.index_exp[:, :3, 0], "an example": np.index_exp[0], "all": np.index_exp[:]}


@pytest.mark.parametrize("where", VOIDS)
@pytest.mark.parametrize("per_example", [False, True])
def test_values_of_no_class_weigh_nothing(where, per_example):
    logits = np.random.default_rng(3).standard_normal((3, 4, 6)).astype(np.float32)
    given = view({})
    target = np.array(given.inputs["map"])
    target[VOIDS[where]] = 255
    inputs = {**given.inputs, "map": jnp.asarray(target)}
    objective = in_stream(
        stream="map", of=partial(classify_map, head="classes"), per_example=per_example
    )

    def found(logits):
        seen = given._replace(inputs=inputs, outputs={"classes": logits})
        per_token, weight, metrics, _ = objective.find(seen)
        mean = Mean(jnp.sum(per_token * weight), jnp.sum(weight))
        return mean.value, metrics["accuracy"].value

    gradient, accuracy = jax.jit(jax.grad(found, has_aux=True))(jnp.asarray(logits))
    loss, _ = found(jnp.asarray(logits))
    by_value = logits.reshape(3, 4, 2, 3).astype(np.float64)
    shifted = by_value - np.log(np.exp(by_value).sum(-1, keepdims=True))
    known, hidden = target < 3, HIDDEN[:, 7:, None]
    right_class = np.where(known, target, 0)
    losses = -np.take_along_axis(shifted, right_class[..., None], axis=-1)[..., 0]
    counted = known * hidden * (1 / hidden.sum((1, 2), keepdims=True) if per_example else 1.0)
    total = max(counted.sum(), 1e-9)
    assert float(loss) == pytest.approx((losses * counted).sum() / total, rel=PARITY)
    right = (by_value.argmax(-1) == target) * counted
    assert float(accuracy) == pytest.approx(right.sum() / total, rel=PARITY)
    touched = np.any(np.asarray(gradient).reshape(3, 4, 2, 3), axis=-1)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(touched, known & hidden)


def test_pictures_stand_under_the_name_of_the_stream():
    logits = jnp.zeros((3, 4, 6)).at[..., 1].set(1.0).at[..., 5].set(1.0)
    seen = view({"classes": logits, "pixels": jnp.zeros((3, 4, 5))})
    found = in_stream(stream="map", of=partial(classify_map, head="classes")).pixels(seen)
    (drawn,) = found["streams"].values()
    assert list(found["streams"]) == ["map"] and set(drawn) >= {"mask", "inputs", "target"}
    np.testing.assert_array_equal(drawn["pixels"], np.broadcast_to([1, 2], (3, 4, 2)))
    np.testing.assert_array_equal(drawn["target"], seen.inputs["map"])


@pytest.mark.parametrize(
    ("stream", "of", "error", "words"),
    [
        ("sound", PIXELS, ModelError, "no stream 'sound'.*image, depth, map"),
        ("map", partial(classify_map, head="pixels"), ModelError, "has 5 values for each token"),
        ("depth", partial(classify_map, head="pixels"), ClassMapError, "depth are float32"),
        ("map", partial(classify_map, head="none"), ModelError, "no head 'none'"),
    ],
)
def test_what_does_not_fit_is_refused(stream, of, error, words):
    with pytest.raises(error, match=words):
        in_stream(stream=stream, of=of).find(view({"pixels": jnp.zeros((3, 4, 5))}))
