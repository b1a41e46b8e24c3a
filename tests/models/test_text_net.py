"""Transformers over bytes: what enters, what is predicted and from what, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from maskmim.masks.uniform import random
from maskmim.models.layers.errors import ModelError
from maskmim.models.text_net import text_in_place, text_mae
from maskmim.targets.class_maps import ClassMapError
from maskmim.targets.tokens import tokens
from maskmim.training.sharding import make_mesh, transformer, tree_shardings
from maskmim.training.train_step import make_train_step
from maskmim.types import Context, Randomness, Spec, Variables
from tests.compiling import quick_jit
from tests.methods.small_methods import DECODER, TEXT, text, windows
from tests.tiny import SPEC, begin, tiny_method
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

KINDS = pytest.mark.parametrize("kind", ["in_place", "untied", "mae"])
LENGTH, EXAMPLES = TEXT.size[0], 4


@pytest.fixture(scope="module")
def methods():
    return {kind: text(kind) for kind in ("in_place", "untied", "mae")}


def forward(method, batch, seed=0):
    """Return variables, the mask and the logits of a batch."""
    variables = Variables(*quick_jit(method.init)(jax.random.key(1)), {})
    randomness = Randomness.of(jax.random.key(seed), EXAMPLES)

    @quick_jit
    def run(variables, batch):
        mask = method.apply["mask"](variables, batch, randomness)["mask"]
        encoded = method.net.encode(variables.params, method.net.inputs(batch), mask)
        return mask, method.net.predict(variables.params, encoded, mask)["tokens"]

    return variables, *run(variables, batch)


@KINDS
def test_the_loss_and_the_accuracy_are_those_of_the_true_bytes(kind, methods):
    method, batch = methods[kind], windows(EXAMPLES)
    variables, mask, logits = forward(method, batch)
    assert logits.shape == (EXAMPLES, round(0.25 * LENGTH), 256) and logits.dtype == jnp.float32
    true = np.take_along_axis(batch["text"][..., 0], np.asarray(mask.predict), axis=1)
    flat = torch.tensor(np.array(logits)).reshape(-1, 256)
    expected = torch.nn.functional.cross_entropy(flat, torch.tensor(true.astype(int).ravel()))
    randomness = Randomness.of(jax.random.key(0), EXAMPLES)
    losses = quick_jit(method.loss)(variables, batch, randomness, jnp.float32(0))
    np.testing.assert_allclose(losses.terms["tokens"].value, expected.item(), rtol=PARITY)
    right = (np.argmax(logits, -1) == true).mean()
    np.testing.assert_allclose(losses.metrics["tokens/accuracy"].value, right, rtol=1e-6)


@KINDS
def test_hidden_bytes_reach_no_prediction_and_visible_ones_do(kind, methods):
    method, batch = methods[kind], windows(EXAMPLES)
    _, mask, first = forward(method, batch)
    hidden = np.asarray(mask.hidden)[..., None]
    _, _, second = forward(method, {"text": np.where(hidden, 255 - batch["text"], batch["text"])})
    np.testing.assert_array_equal(first, second)
    _, _, third = forward(method, {"text": np.where(hidden, batch["text"], 255 - batch["text"])})
    assert np.abs(np.asarray(third - first)).max() > 1e-4


def test_a_token_is_its_row_of_the_table_and_a_hidden_one_the_mask_embedding(methods):
    net, batch = methods["in_place"].net, windows(EXAMPLES)
    variables, mask, _ = forward(methods["in_place"], batch)
    params = variables.params["encoder"]
    encoded = net.encode(variables.params, net.inputs(batch), mask, capture=("embedded",))
    rows = np.asarray(params["embed"]["embedding"])[batch["text"][..., 0]]
    hidden = np.asarray(mask.hidden)[..., None]
    rows = np.where(hidden, np.asarray(params["mask_token"]), rows)
    expected = rows + np.asarray(params["positions"])
    np.testing.assert_allclose(encoded.embedded[:, 1:], expected, rtol=PARITY, atol=1e-6)


def test_tied_logits_are_products_with_the_encoders_table(methods):
    """Changing a row of the table changes the logits of that byte, for all tokens."""
    net, batch = methods["in_place"].net, windows(EXAMPLES)
    variables, mask, logits = forward(methods["in_place"], batch)
    encoded = net.encode(variables.params, net.inputs(batch), mask)
    unused = next(byte for byte in range(256) if not (batch["text"] == byte).any())
    params = jax.tree.map(np.array, variables.params)
    params["encoder"]["embed"]["embedding"][unused] *= 3
    changed = net.predict(params, encoded, mask)["tokens"]
    expected = np.array(logits)
    expected[..., unused] *= 3
    np.testing.assert_allclose(changed, expected, rtol=0, atol=PARITY * np.abs(expected).max())
    params, _ = methods["untied"].init(jax.random.key(0))
    assert set(params["decoder"]) == {"head_tokens"}


@KINDS
def test_three_steps_on_text_lower_the_loss_and_move_every_parameter(kind, methods):
    method, optimiser = methods[kind], optax.adam(3e-3)
    state, frozen = begin(method, optimiser)
    step = quick_jit(make_train_step(method, optimiser, seed=0, total_steps=3))
    first, losses = state.params, []
    for number in range(3):
        state, metrics = step(state, frozen, windows(16, number))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0] - 0.1 and abs(losses[0] - np.log(256)) < 1.0
    for path, moved in jax.tree_util.tree_leaves_with_path(
        jax.tree.map(lambda a, b: np.abs(np.asarray(a - b)).max(), first, state.params)
    ):
        assert moved > 0, jax.tree_util.keystr(path)


def test_ids_beyond_a_byte_are_an_int32_stream():
    spec = Spec((6,), 1, (), (), "words", "int32", classes=1000)
    method = text(spec=spec)
    batch = {"words": np.array([[[999], [0], [500], [3], [3], [7]]] * EXAMPLES, np.int32)}
    variables, _, logits = forward(method, batch)
    assert logits.shape[-1] == 1000
    assert method.apply["encode"](variables, batch).tokens.shape == (EXAMPLES, 6, 32)


def test_nothing_is_drawn(methods):
    for method in methods.values():
        assert method.net.display is None and method.net.restore is None
        assert "reconstruct" not in method.apply and not method.sheets


@KINDS
def test_every_parameter_has_a_sharding_rule(kind, methods):
    params, _ = jax.eval_shape(methods[kind].init, jax.random.key(0))
    tree_shardings(params, transformer(), make_mesh({"data": -1}))


WRONG = {
    "no classes": (TEXT._replace(classes=0), "0 classes"),
    "two channels": (TEXT._replace(channels=2), "2 channels"),
    "a picture": (SPEC._replace(classes=3, channels=1), "size 32x24"),
    "two streams": (TEXT._replace(streams={"image": SPEC}), r"input\.streams has image"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("build", [text_in_place, text_mae])
def test_other_inputs_are_refused_when_the_model_is_built(name, build):
    spec, words = WRONG[name]
    with pytest.raises(ModelError, match=words):
        build(spec, variant="nano")


def test_other_batches_masks_and_names_are_refused(methods):
    net = methods["in_place"].net
    with pytest.raises(ModelError, match=r"text of float32\[24, 1\] meets a model"):
        net.inputs({"text": np.zeros((2, 24, 1), np.float32)})
    with pytest.raises(ModelError, match=r"text of uint8\[23, 1\]"):
        net.inputs({"text": np.zeros((2, 23, 1), np.uint8)})
    params, _ = quick_jit(methods["in_place"].init)(jax.random.key(0))
    batch = windows(EXAMPLES)
    mask = random(
        Randomness.of(jax.random.key(0), EXAMPLES),
        Context({}, net.grids, {}),
        ratio=0.5,
    )
    with pytest.raises(ModelError, match="12 of 24 tokens enter"):
        net.encode(params, net.inputs(batch), mask)
    with pytest.raises(ModelError, match="unknown positions"):
        text_in_place(TEXT, positions="sinus")
    with pytest.raises(ModelError, match="unknown positions"):
        text_mae(TEXT, decoder_positions="learned", **DECODER)


def test_pixels_are_no_tokens():
    method = tiny_method(target=tokens)
    variables = Variables(*jax.eval_shape(method.init, jax.random.key(0)), {})
    batch = {"image": np.zeros((2, 32, 24, 3), np.uint8)}
    with pytest.raises(ClassMapError, match="not indices of classes"):
        jax.eval_shape(
            method.loss,
            variables,
            batch,
            Randomness.of(jax.random.key(0), 2),
            jnp.float32(0),
        )
