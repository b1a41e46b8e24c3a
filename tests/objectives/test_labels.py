"""The objective that learns from labels: torch's loss, ignored examples, and what is refused."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.config.bricks import bind, brick
from maskmim.losses.classification import cross_entropy
from maskmim.masks.roles import everything
from maskmim.methods.masked import MethodError, masked, sum_objectives
from maskmim.models.classifiers import linear
from maskmim.models.encoder_only import vit_encoder
from maskmim.models.layers.errors import ModelError
from maskmim.objectives import label
from maskmim.objectives.classification import ObjectiveError
from maskmim.types import Context, Encoded, Randomness, View
from tests.tiny import SPEC
from tests.tolerances import PARITY

EXAMPLES, WIDTH, CLASSES = 12, 5, 4
RNG = np.random.default_rng(0)
PREFIX = RNG.normal(size=(EXAMPLES, 1, WIDTH)).astype(np.float32)
TOKENS = RNG.normal(size=(EXAMPLES, 7, WIDTH)).astype(np.float32)
LABELS = RNG.integers(0, CLASSES, EXAMPLES).astype(np.int32)
LABELS[[1, 4, 5]] = -1
HEAD = linear(WIDTH, classes=CLASSES)
PARAMS = {
    "classify": {
        name: RNG.normal(size=leaf.shape).astype(np.float32)
        for name, leaf in HEAD.init(jax.random.key(0)).items()
    }
}


def view_of(labels=LABELS, prefix=PREFIX, declared=None, head=HEAD):
    def classify(params, features):
        return head.call(params["classify"], features)

    declared = {"coarse": CLASSES} if declared is None else declared
    context = Context({"label": {"coarse": jnp.asarray(labels)}}, {}, {}, labels=declared)
    net = SimpleNamespace(calls={"classify": classify})
    encoded = Encoded(jnp.asarray(prefix), jnp.asarray(TOKENS))
    return View(net, context, None, None, encoded, {}, (), PARAMS)


def in_torch(features, labels, smoothing):
    """The loss and the accuracy of torch, which leaves out the labels -1."""
    logits = torch.tensor(features) @ torch.tensor(PARAMS["classify"]["kernel"])
    logits = logits + torch.tensor(PARAMS["classify"]["bias"])
    wanted = torch.tensor(labels, dtype=torch.long)
    loss = torch.nn.functional.cross_entropy(
        logits, wanted, ignore_index=-1, label_smoothing=smoothing
    )
    known = wanted >= 0
    return loss.item(), (logits.argmax(1) == wanted)[known].float().mean().item()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("pooling", ["mean", "class"])
def test_the_loss_and_the_accuracy_are_torchs_over_labelled_examples(pooling, smoothing):
    term = label(labels="coarse", pooling=pooling, loss=partial(cross_entropy, smoothing=smoothing))
    losses = sum_objectives({"label": term}, view_of())
    features = TOKENS.mean(1) if pooling == "mean" else PREFIX[:, 0]
    loss, right = in_torch(features, LABELS, smoothing)
    np.testing.assert_allclose(losses.terms["label"].value, loss, rtol=PARITY)
    np.testing.assert_allclose(losses.metrics["label/accuracy"].value, right, rtol=1e-6)
    assert losses.terms["label"].weight == (LABELS >= 0).sum() == 9


def test_an_example_without_a_label_sends_no_gradient():
    def loss(tokens):
        view = view_of()
        per_example, weight, *_ = label(labels="coarse").find(
            view._replace(encoded=view.encoded._replace(tokens=tokens))
        )
        return jnp.sum(per_example * weight)

    grad = np.abs(np.asarray(jax.grad(loss)(jnp.asarray(TOKENS)))).max((1, 2))
    assert (grad[LABELS < 0] == 0).all() and (grad[LABELS >= 0] > 0).all()


def test_a_batch_without_any_label_has_a_loss_of_0():
    losses = sum_objectives({"label": label(labels="coarse")}, view_of(np.full(EXAMPLES, -1)))
    assert losses.terms["label"].value == 0 and losses.metrics["label/accuracy"].value == 0


def test_what_does_not_fit_is_refused_in_a_sentence():
    find = label(labels="coarse").find
    with pytest.raises(ObjectiveError, match=r"has 9: set calls\.classify\.classes=9"):
        find(view_of(declared={"coarse": 9}))
    with pytest.raises(ObjectiveError, match=r"input\.labels has fine \(4 classes\): set"):
        find(view_of(declared={"fine": 4}))
    with pytest.raises(ObjectiveError, match=r"input\.labels has none"):
        find(view_of(declared={}))
    with pytest.raises(ObjectiveError, match=r"did you mean 'coarser'\? .* to declare them set"):
        find(view_of(declared={"fine": 4, "coarser": 4}))
    with pytest.raises(ObjectiveError, match="needs a class token"):
        label(labels="coarse", pooling="class").find(view_of(prefix=PREFIX[:, :0]))
    with pytest.raises(ModelError, match="no function 'other'"):
        label(labels="coarse", call="other").find(view_of())


def test_a_brick_says_what_it_takes():
    section = brick(label, labels="coarse", pooling="class")
    assert section.brick == "maskmim.objectives.label" and section.call == "classify"
    assert bind(section)().calls == ("classify",)


def supervised(**calls):
    return masked(
        SPEC._replace(labels={"coarse": CLASSES}),
        model=partial(vit_encoder, variant="nano", patch=(8, 8)),
        mask=everything,
        objectives={"label": partial(label, labels="coarse")},
        teachers={},
        calls=calls,
    )


def test_a_method_without_the_function_is_refused_when_it_is_built():
    with pytest.raises(MethodError, match=r"objectives\.label calls classify of the network"):
        supervised()


def test_everything_hides_nothing():
    mask = everything(Randomness.of(jax.random.key(0), 3), Context({}, {"image": (2, 4)}, {}))
    np.testing.assert_array_equal(mask.visible, np.arange(8)[None].repeat(3, 0))
    np.testing.assert_array_equal(mask.predict, mask.visible)
    assert not mask.hidden.any() and (np.asarray(mask.weight) == 1).all()


def test_a_supervised_method_has_an_encoder_and_a_head_and_no_decoder():
    method = supervised(classify=partial(linear, classes=CLASSES))
    params, extra = jax.eval_shape(method.init, jax.random.key(0))
    assert set(params) == {"encoder", "classify"} and extra == {}
    assert params["classify"]["kernel"].shape == (32, CLASSES)
    assert "reconstruct" not in method.apply and not method.sheets
