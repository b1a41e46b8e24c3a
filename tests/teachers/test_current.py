"""The network as its own teacher: hints of any block, and masks that it cuts for itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.masks import uniform
from maskmim.masks.core import from_hidden
from maskmim.methods.masked import masked
from maskmim.models.layers.errors import ModelError
from maskmim.teachers.average import AverageError
from maskmim.teachers.current import current
from maskmim.teachers.features import block_tokens, block_tokens_and_class
from maskmim.types import Context, Objective, Randomness, Variables
from tests.compiling import quick_jit
from tests.masks.test_clusters import oracle_side
from tests.tiny import SPEC, pictures, tiny_model
from tests.tolerances import REORDERED

pytestmark = pytest.mark.full

EXAMPLES, TOKENS, HIDDEN = 6, 12, 9
CHANGE = 1 / 8  # share of the training from which on the network hides by itself


def spy() -> Objective:
    """An objective without a loss that hands out the hidden tokens and what hid them."""

    def find(view):
        carry = {"hidden": view.mask.hidden, "features": view.context.hints["features"]}
        return jnp.zeros_like(view.mask.weight), view.mask.weight, {}, carry

    return Objective(("features",), 1.0, find, "nothing")


@pytest.fixture(scope="module")
def step():
    """Return (net, params, jitted step): self_guided:tiny on 12 tokens, without hints.

    The step takes params and progress, and returns what `spy` saw and two gradients: of the loss,
    and of MAE's loss with the same tokens hidden.
    """
    config = load("self_guided:tiny")
    config.mask.then.hints = 0.0
    parts = {"model": tiny_model(), "objectives": {"pixels": bind(config.objectives.pixels)}}
    method = masked(
        SPEC,
        **{**parts, "objectives": {**parts["objectives"], "spy": spy}},
        mask=bind(config.mask),
        teachers={"itself": bind(config.teachers.itself)},
    )
    batch, randomness = {"image": pictures(EXAMPLES)}, Randomness.of(jax.random.key(1), EXAMPLES)
    params, extra = jax.jit(method.init)(jax.random.key(0))
    assert extra == {"itself": ()}

    def loss(params, progress):
        found = method.loss(Variables(params, extra, {"itself": ()}), batch, randomness, progress)
        return found.terms["pixels"].value, found.carry["spy"]

    def of_mae(params, hidden):
        given = masked(
            SPEC, **parts, mask=lambda *_: from_hidden(hidden, count=HIDDEN), teachers={}
        )
        found = given.loss(Variables(params, {}, {}), batch, randomness, 0.5)
        return found.terms["pixels"].value

    @quick_jit
    def run(params, progress):
        gradient, seen = jax.grad(loss, has_aux=True)(params, progress)
        return seen, gradient, jax.grad(of_mae)(params, seen["hidden"])

    return method.net, params, run


def other(params):
    """Other weights: those of a network whose patch embedding was turned round."""
    return jax.tree.map(lambda leaf: jnp.flip(leaf, 0) * 2, params)


def test_masks_are_random_until_the_change_over(step):
    _, params, run = step
    context = Context({}, {"image": (4, 3)}, {})
    inside = Randomness.of(jax.random.key(1), EXAMPLES).inside("first")
    expected = uniform.random(inside, context, ratio=0.75).hidden
    for weights in (params, other(params)):
        seen, _, _ = run(weights, CHANGE - 1e-3)
        np.testing.assert_array_equal(seen["hidden"], expected)


@pytest.mark.proves(
    2, "from the change-over on, what is hidden is cut out by the features of the step's weights"
)
def test_the_network_hides_what_its_own_features_cut_out(step):
    """The features are those of its last block on whole pictures, the cut that of numpy's eigh."""
    net, params, run = step
    hidden = []
    for weights in (params, other(params)):
        seen, _, _ = run(weights, CHANGE)
        inputs = net.inputs({"image": pictures(EXAMPLES)})
        layers = net.encode(weights, inputs, None, capture=("layers",)).layers
        features = np.asarray(layers[-1][:, 1:], np.float64)
        np.testing.assert_allclose(seen["features"], features, atol=1e-4)
        for example, rows in enumerate(features):
            unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
            similarity = unit @ unit[oracle_side(rows)].mean(axis=0)
            expected = np.zeros(TOKENS, bool)
            expected[np.argsort(-similarity)[:HIDDEN]] = True
            np.testing.assert_array_equal(seen["hidden"][example], expected)
        hidden.append(np.asarray(seen["hidden"]))
    assert np.any(hidden[0] != hidden[1])


def test_gradients_are_those_of_mae_with_the_same_tokens_hidden(step):
    _, params, run = step
    _, ours, expected = run(params, 0.5)
    for one, two in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, two, atol=REORDERED * np.abs(two).max())
        assert np.any(one)


def test_hints_of_any_block():
    net = tiny_model()(SPEC)
    params = jax.jit(net.init)(jax.random.key(0))
    batch = {"image": pictures(2)}
    context = Context(batch, net.grids, {})
    whole = net.encode(params, net.inputs(batch), None, capture=("embedded", "layers"))
    for layer, expected in enumerate((whole.embedded, *whole.layers)):
        found = block_tokens_and_class(net, params, context, layer=layer)
        np.testing.assert_allclose(found["class_feature"], expected[:, 0], atol=1e-5)
        np.testing.assert_allclose(found["features"], expected[:, 1:], atol=1e-5)
        alone = block_tokens(net, params, context, layer=layer)
        np.testing.assert_array_equal(alone["features"], found["features"])
    with pytest.raises(ModelError, match="no layer 3: the blocks are 1 to 2"):
        block_tokens(net, params, context, layer=3)
    headless = tiny_model(class_token=False)(SPEC)
    params = jax.eval_shape(headless.init, jax.random.key(0))
    with pytest.raises(ModelError, match="the encoder has no class token"):
        jax.eval_shape(lambda p: block_tokens_and_class(headless, p, context, layer=1), params)


def test_a_find_that_declares_no_hints_is_refused():
    with pytest.raises(AverageError, match="does not declare its hints"):
        current(find=lambda net, params, context: {})
