"""What the generic method refuses: a loss without terms, a batch without its stream, two grids."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.errors import USAGE
from maskmim.losses.regression import squared_error
from maskmim.masks.roles import all_predicted
from maskmim.masks.uniform import random
from maskmim.methods.masked import MethodError, masked
from maskmim.models.classifiers import linear
from maskmim.models.layers.errors import ModelError
from maskmim.models.text_net import text_mae
from maskmim.objectives import label, match
from maskmim.targets.pixels import patches
from maskmim.types import Context, Objective, Randomness
from tests.methods.small_methods import CLASSES, DECODER, TEXT
from tests.tiny import SPEC, pictures, tiny_model

EXAMPLES = 2
PIXELS = partial(match, head="pixels", target=patches, loss=squared_error)
BATCH = {"image": pictures(EXAMPLES), "label": {"coarse": np.zeros(EXAMPLES, np.int32)}}


def predicting_none(randomness, context):
    """A sampler of whole examples of which no token is predicted."""
    mask = all_predicted(randomness, context, sampler=partial(random, ratio=0.5))
    return mask._replace(predict=mask.predict[:, :0], weight=mask.weight[:, :0])


def method(**changes):
    parts = {
        "model": tiny_model(),
        "mask": partial(random, ratio=0.75),
        "objectives": {"pixels": PIXELS},
        "teachers": {},
    }
    return masked(SPEC._replace(labels={"coarse": CLASSES}), **{**parts, **changes})


def traced(made, batch=BATCH):
    """Trace the loss of a batch; nothing is compiled."""
    variables = jax.eval_shape(made.variables, jax.random.key(0))
    randomness = Randomness.of(jax.random.key(0), EXAMPLES)
    return jax.eval_shape(made.loss, variables, batch, randomness, jnp.float32(0))


def calling(name):
    """A brick of an objective that calls a function which it does not declare."""

    def find(view):
        logits = view.net.calls[name](view.params, view.encoded.tokens[:, 0])
        return logits[:, :1], jnp.ones((EXAMPLES, 1)), {}, ()

    return lambda: Objective((), 1.0, find, "calls a function")


@pytest.mark.parametrize(
    ("objectives", "sentence"),
    [
        ({}, "objectives is empty: name a term of the loss"),
        (
            {name: partial(PIXELS, scale=0.0) for name in "ab"},
            r"the scale 0 \(objectives\.a, objectives\.b\).*set objectives\.a\.scale above 0",
        ),
    ],
)
def test_a_loss_that_trains_nothing_is_refused_when_the_method_is_built(objectives, sentence):
    with pytest.raises(MethodError, match=sentence):
        method(objectives=objectives)
    method(objectives={"pixels": PIXELS, "measured": partial(PIXELS, scale=0.0)})


def test_an_objective_on_no_token_is_refused_but_labels_need_none():
    with pytest.raises(MethodError, match=r"objectives\.pixels is taken on no token"):
        traced(method(mask=predicting_none))
    calls = {"classify": partial(linear, classes=CLASSES)}
    labels = {"label": partial(label, labels="coarse")}
    assert list(traced(method(mask=predicting_none, objectives=labels, calls=calls)).terms)


def test_a_function_that_nothing_calls_is_refused_and_one_that_is_misspelt_is_named():
    calls = {"head": partial(linear, classes=3)}
    traced(method(objectives={"x": calling("head")}, calls=calls))
    with pytest.raises(ModelError, match=r"calls\.head is called by no objective"):
        traced(method(calls=calls))
    with pytest.raises(ModelError, match="no function 'haed', but head; did you mean 'head'"):
        traced(method(objectives={"x": calling("haed")}, calls=calls))


def test_a_batch_without_the_stream_names_what_it_has():
    crops = {"views": np.stack([BATCH["image"]] * 2, axis=1)}
    sentence = "lacks 'image' and has views: set data.augment .*methods.views.masked_views"
    with pytest.raises(ModelError, match=sentence):
        traced(method(), crops)
    text = text_mae(TEXT, variant="nano", **DECODER)
    with pytest.raises(ModelError, match=r"lacks 'text' and has image, label: set data\.augment"):
        text.inputs(BATCH)


def test_the_grid_of_several_streams_is_a_question_with_an_answer():
    grids = {"image": (2, 2), "depth": (2, 2)}
    with pytest.raises(ValueError, match=r"an example has image, depth: .*per_stream") as caught:
        _ = Context({}, grids, {}).grid
    assert caught.value.exit_code == USAGE
