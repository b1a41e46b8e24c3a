"""Losses of views: the width of a queue, and what would train nothing."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from maskmim.errors import UserError
from maskmim.masks import views
from maskmim.models.projectors import mlp
from maskmim.objectives.contrastive import info_nce
from maskmim.objectives.pairs import agree_hidden, mean_tokens
from maskmim.teachers.average import average
from maskmim.teachers.projections import projected_mean
from tests.methods.test_views import AT_HALF, RANDOMNESS, method, two_views

pytestmark = pytest.mark.full

WHOLE_FIRST = partial(views.asymmetric, ratios=(0.0, 0.75))
FIVE = {"five": partial(mlp, hidden=8, values=5, norm="none")}
TEACHER = partial(average, find=partial(projected_mean, project="five"), momentum=AT_HALF)


def traced(**changes):
    """The shapes of a method's variables and losses; nothing is compiled."""
    made = method(**changes)
    variables = jax.eval_shape(made.variables, jax.random.key(0))
    batch = {"views": two_views()}
    return variables, jax.eval_shape(made.loss, variables, batch, RANDOMNESS, jnp.float32(0))


def short(view):
    """Half of a view's pooled features: f32[B, 16]."""
    return mean_tokens(view)[:, :16]


@pytest.mark.parametrize(
    ("changes", "width"),
    [
        ({"project": None}, 32),
        ({"project": "five"}, 5),
        ({"project": None, "predict": "five", "hint": "projection"}, 5),
        ({"project": None, "source": short, "values": 16}, 16),
    ],
)
def test_the_queue_has_the_width_of_the_keys(changes, width):
    pairs = {"pair": partial(info_nce, queue=6, **changes)}
    variables, losses = traced(pairs=pairs, calls=FIVE, teachers={"average": TEACHER})
    assert variables.extra["pairs"]["pair"]["keys"].shape == (6, width)
    assert losses.carry["pair"]["keys"].shape == (6, width)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"mask": WHOLE_FIRST, "predicts": (1, 0)},
            r"objectives\.pixels is taken on no token of vi",
        ),
        (
            {
                "mask": WHOLE_FIRST,
                "predicts": (0, 1),
                "objectives": {},
                "pairs": {"pair": partial(agree_hidden, head="pixels")},
            },
            "hides none of view 0",
        ),
        ({"calls": FIVE}, r"calls\.five is called by no objective"),
        (
            {"pairs": {"pair": partial(info_nce, project=None, source=short, queue=6)}},
            "has keys of 32 values, but a key has 16: set `values` of info_nce to 16",
        ),
        (
            {
                "pairs": {"pair": partial(info_nce, project="narrow", source=short, queue=6)},
                "calls": {"narrow": partial(mlp, inputs=16, hidden=8, values=5, norm="none")},
            },
            "cannot tell its width from the encoder's 32, .*set `values` of info_nce",
        ),
    ],
)
def test_what_would_train_nothing_is_refused_before_the_first_step(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        traced(**changes)


def test_a_teacher_may_call_a_function_that_it_does_not_declare():
    """What a finder calls is seen as the loss is traced."""
    traced(calls=FIVE, teachers={"average": TEACHER})
