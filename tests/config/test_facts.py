"""The facts that decorators attach to bricks, read through functools.partial."""

from __future__ import annotations

import functools

import pytest

from maskmim.config import facts
from maskmim.config.describe import needs_of, title
from maskmim.errors import UserError


def counts(grid, *, ratio):
    return 1, 1


@facts.sampler(axes=(3,), needs=("flow",), counts=counts)
def moving(randomness, context, *, ratio: float = 0.5):
    return ratio


@facts.sampler(needs=("region", "flow"))
def outer(randomness, context, *, samplers=()):
    return samplers


class Bound(functools.partial):
    """A functools.partial that Python does not merge with one around it."""


def test_a_decorator_returns_the_function_itself():
    assert moving(None, None) == 0.5 and moving.__name__ == "moving"
    assert facts.facts_of(moving) == facts.Facts(needs=("flow",), axes=(3,), counts=counts)


def test_a_brick_without_a_decorator_has_the_defaults():
    default = facts.facts_of(functools.partial(counts, ratio=0.5))
    assert default == facts.Facts()
    assert default.axes == facts.ANY_AXES and not default.needs and not default.needs_labels


def test_bound_bricks_have_the_facts_and_keywords_of_all_layers():
    brick = Bound(Bound(moving, ratio=0.1), ratio=0.2)
    assert facts.facts_of(brick) is facts.facts_of(moving)
    assert facts.function_of(brick) is moving
    assert facts.bound_keywords(brick) == {"ratio": 0.2}
    assert facts.bound_keywords(moving) == {}
    assert title(brick) == "tests.config.test_facts.moving(ratio=0.2)"


def test_needs_are_those_of_a_brick_and_of_its_inner_bricks_once():
    inner = functools.partial(moving, ratio=0.5)
    brick = functools.partial(outer, samplers={"a": inner, "b": (inner, moving)})
    assert needs_of(brick) == ("region", "flow")


@pytest.mark.parametrize("field", ["needs", "gives"])
def test_text_in_place_of_a_tuple_of_names_is_an_error(field):
    with pytest.raises(TypeError, match=rf"{field}='flow': give a tuple of names, \('flow',\)"):
        facts.Facts(**{field: "flow"})


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        (("test", "pixels"), "there is no need pixels; known are features, labels, label_maps"),
        ((3,), "there is no need 3; known are features"),
        ("labels", "give a tuple of names, ('labels',)"),
        (None, "give a tuple of names"),
    ],
)
def test_a_measure_with_a_need_that_does_not_exist_is_refused_by_name(needs, words):
    with pytest.raises(UserError) as error:
        facts.measure(needs=needs)(counts)
    assert words in str(error.value)
    assert f"the measure {__name__}.counts has needs={needs!r}: " in str(error.value)


def test_each_kind_declares_its_facts():
    make = lambda *_: {}  # noqa: E731
    cases = [
        (facts.scores(needs=("logits",)), {"needs": ("logits",)}),
        (facts.target(needs=("codes",), shows=make), {"needs": ("codes",), "shows": make}),
        (facts.target(pixels=make), {"pixels": make}),
        (facts.finder(gives=("features",)), {"gives": ("features",)}),
        (facts.augmentation(makes=make), {"makes": make}),
        (facts.measure(needs=["test"]), {"needs": ("test",)}),
        (facts.probe(needs_labels=True), {"needs_labels": True}),
    ]
    for decorate, fields in cases:
        assert facts.facts_of(decorate(lambda: None)) == facts.Facts(**fields)
