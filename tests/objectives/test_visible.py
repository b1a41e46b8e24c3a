"""Losses on the tokens that the encoder sees, by hand-made features."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.losses.feature import FeatureError, unit_absolute_error
from maskmim.losses.regression import absolute_error
from maskmim.models.layers.errors import ModelError
from maskmim.objectives.visible import match_visible
from maskmim.targets import features
from maskmim.types import Context, Encoded, Mask, View
from tests.objectives.views import WIDTH, net_of

VISIBLE = np.array([[0, 3], [2, 4]])
RNG = np.random.default_rng(0)
HINTS = {
    "features": RNG.normal(size=(2, 5, 3)).astype("f4"),
    "class_feature": RNG.normal(size=(2, 3)).astype("f4"),
}
TOKENS = RNG.normal(size=(2, 3, WIDTH)).astype("f4")  # the class token, then the visible ones
LAYERS = np.stack([TOKENS + 1, TOKENS + 2])
KERNEL = RNG.normal(size=(WIDTH, 3)).astype("f4")


def view(hidden=(), layers=LAYERS, prefix=1):
    """Two examples of five tokens, of which two are visible; some of these may be withheld."""
    withheld = np.zeros((2, 5), bool)
    for place in hidden:
        withheld[place] = True
    net = net_of(align=jnp.asarray(KERNEL))
    predict = jnp.asarray([[1, 2, 4], [0, 1, 3]])
    mask = Mask(jnp.asarray(VISIBLE), predict, jnp.asarray(withheld), jnp.ones((2, 3)))
    encoded = Encoded(TOKENS[:, :prefix], TOKENS[:, 1:], layers=layers)
    context = Context({}, net.grids, HINTS)
    return View(net, context, (), mask, encoded, {}, {}, {"align": jnp.asarray(KERNEL)})


def objective(**changes):
    """The mean absolute error of a linear map of visible tokens and of features."""
    keywords = {"call": "align", "target": features.features, "loss": absolute_error}
    return match_visible(**{**keywords, **changes})


def expected(tokens, with_class):
    """The losses in numpy: f32[2, n]."""
    wanted = np.take_along_axis(HINTS["features"], VISIBLE[..., None], axis=1)
    if with_class:
        wanted = np.concatenate([HINTS["class_feature"][:, None], wanted], axis=1)
    return np.abs(tokens[:, 0 if with_class else 1 :] @ KERNEL - wanted).mean(-1)


@pytest.mark.parametrize("layer", [None, 1, 2])
@pytest.mark.parametrize("with_class", [False, True])
def test_visible_tokens_of_a_block_are_compared(layer, with_class):
    class_target = features.class_feature if with_class else None
    made = objective(layer=layer, class_target=class_target)
    per_token, weight, metrics, carry = made.find(view())
    tokens = TOKENS if layer is None else LAYERS[layer - 1]
    np.testing.assert_allclose(per_token, expected(tokens, with_class), rtol=1e-5)
    np.testing.assert_array_equal(weight, np.ones((2, 3 if with_class else 2)))
    assert (metrics, carry, made.calls) == ({}, (), ("align",))
    assert made.captures == (("layers",) if layer else ())
    assert made.needs == (("features", "class_feature") if with_class else ("features",))


def test_tokens_that_carry_the_mask_embedding_weigh_nothing():
    _, weight, _, _ = objective(class_target=features.class_feature).find(view(hidden=[(0, 3)]))
    np.testing.assert_array_equal(weight, [[1, 1, 0], [1, 1, 1]])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ModelError, match="no layer 3: the blocks are 1 to 2"):
        objective(layer=3).find(view())
    with pytest.raises(ModelError, match="the method captures none"):
        objective(layer=1).find(view(layers=None))
    with pytest.raises(ModelError, match=r"no class token: set model.class_token=True"):
        objective(class_target=features.class_feature).find(view(prefix=0))
    with pytest.raises(
        ModelError, match=r"function 'align' has 3 values .* set calls.align.values=1"
    ):
        objective(target=lambda view: jnp.zeros((2, 2, 1))).find(view())
    with pytest.raises(ModelError, match="no function 'other'"):
        objective(call="other").find(view())


def test_the_difference_of_unit_vectors_equals_the_formula():
    one, other = RNG.normal(size=(2, 4, 5, 3))
    unit = [each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (one, other)]
    ours = unit_absolute_error(jnp.asarray(one), jnp.asarray(7 * other))
    np.testing.assert_allclose(ours, np.abs(unit[0] - unit[1]).mean(-1), rtol=1e-5)
    with pytest.raises(FeatureError, match="the head has 3 values, the features have 2"):
        unit_absolute_error(jnp.asarray(one), jnp.asarray(other[..., :2]))
    assert partial(objective, loss=unit_absolute_error)().says.startswith("visible tokens: ")
