"""Bricks: what configs store of a function, and what comes back when it is bound."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import pytest
from ml_collections import ConfigDict

from maskmim.config.bricks import (
    MOVED,
    BrickError,
    bind,
    brick,
    public_path,
    resolve,
    signature_text,
)
from maskmim.errors import USAGE
from maskmim.optim import adamw

HERE = __name__


def squared(x, *, scale: float = 1.0):
    """A loss."""
    return scale * x * x


def absolute(x):
    """A loss without hyperparameters."""
    return abs(x)


def objective(*, target: Callable, loss: Callable = squared, weights: tuple = (1, 2), name=None):
    """A brick made of bricks."""
    return target, loss, weights, name


class Window(NamedTuple):
    """A class as a brick."""

    size: int
    stride: float = 1.0


NUMBER = 3


def test_a_brick_stores_its_path_and_every_default():
    section = brick(f"{HERE}.objective", target=brick(f"{HERE}.absolute"))
    assert section.to_dict() == {
        "brick": f"{HERE}.objective",
        "target": {"brick": f"{HERE}.absolute"},
        "loss": {"brick": f"{HERE}.squared", "scale": 1.0},
        "weights": (1, 2),
        "name": None,
    }


def test_whole_numbers_become_floats_where_floats_are_meant():
    stored = brick(f"{HERE}.squared", scale=2).scale
    assert (stored, type(stored)) == (2.0, float)


def test_a_section_is_locked():
    section = brick(f"{HERE}.squared")
    with pytest.raises(AttributeError):
        section.scal = 3.0


def test_bind_gives_the_function_with_its_keywords():
    bound = bind(brick(f"{HERE}.squared", scale=3))
    assert isinstance(bound, functools.partial)
    assert (bound.func, bound.args, bound.keywords) == (squared, (), {"scale": 3.0})
    assert bound(2) == 12


def test_bind_reaches_bricks_inside_bricks_dicts_and_tuples():
    inner = brick(f"{HERE}.squared", scale=2)
    config = ConfigDict(
        {
            "named": {"a": inner, "plain": 1},
            "listed": [inner, 5],
            "pair": (inner, (inner,)),
            "whole": brick(f"{HERE}.objective", target=inner, weights=[3, 4], name={"x": inner}),
        }
    ).lock()
    out = bind(config)
    assert type(out) is type(out["named"]) is dict
    assert out["named"]["a"](3) == 18
    assert out["named"]["plain"] == 1
    assert out["listed"][0](3) == 18
    assert out["listed"][1:] == (5,)
    assert out["pair"][1][0](3) == 18
    target, loss, weights, name = out["whole"]()
    assert (target(3), loss(3), weights, name["x"](1)) == (18, 9, (3, 4), 2)


def test_a_class_takes_its_fields():
    assert bind(brick(f"{HERE}.Window", size=7))() == Window(7, 1.0)
    with pytest.raises(BrickError, match="needs size"):
        brick(f"{HERE}.Window")


def test_signature_text_shows_required_and_default():
    expected = f"{HERE}.objective(target, loss=squared, weights=(1, 2), name=None)"
    assert signature_text(f"{HERE}.objective") == expected


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("squared", ["not a dotted path"]),
        (f"{HERE}.sqared", ["no function 'sqared'", f"did you mean {HERE}.squared?"]),
        (f"{HERE}.NUMBER", ["no function 'NUMBER'"]),
        ("maskmim.masks.unifrom.random", ["'maskmim.masks.unifrom'", "maskmim.masks.uniform?"]),
        ("maskmim.mask.uniform.random", ["'maskmim.mask'", "did you mean maskmim.masks?"]),
        (
            "maskmim.masks.green",
            ["masks has no function 'green'", "mean maskmim.masks.colour.green?"],
        ),
        ("no_such_package.x", ["there is no module 'no_such_package'"]),
    ],
)
def test_a_wrong_path_names_the_nearest(path, words):
    with pytest.raises(BrickError) as caught:
        resolve(path)
    assert all(word in str(caught.value) for word in words), caught.value
    assert caught.value.exit_code == USAGE


def test_a_module_that_fails_inside_keeps_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        resolve("needs_more.x")


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("squared", {"scal": 1}, ["no 'scal'", "did you mean scale?", "squared(scale=1.0)"]),
        ("objective", {}, ["needs target", "objective(target, loss=squared"]),
        ("squared", {"x": 1}, ["no 'x'"]),
        ("absolute", {"scale": 1}, ["no 'scale'", "absolute()"]),
        ("objective", {"target": squared}, ["target is the function squared", "brick(path)"]),
    ],
)
def test_wrong_keywords_show_the_signature(name, values, words):
    with pytest.raises(BrickError) as caught:
        brick(f"{HERE}.{name}", **values)
    assert all(word in str(caught.value) for word in words), caught.value


def test_bind_refuses_keywords_of_another_brick():
    section = ConfigDict({"brick": f"{HERE}.squared", "ratio": 0.5})
    with pytest.raises(BrickError, match=r"no 'ratio'(.|\n)*squared\(scale=1.0\)"):
        bind({"mask": section})


def test_a_function_makes_the_same_section_as_its_path():
    assert brick(objective, target=brick(absolute)) == brick(
        f"{HERE}.objective", target=brick(f"{HERE}.absolute")
    )
    assert brick(Window, size=3) == brick(f"{HERE}.Window", size=3)


def test_a_function_that_its_package_exports_has_the_short_path():
    assert brick(adamw) == brick("maskmim.optim.adamw")
    assert brick(adamw).brick == "maskmim.optim.adamw"


def test_a_function_that_no_path_leads_to_is_refused():
    def inner(x):
        return x

    for function in (lambda x: x, inner, functools.partial(absolute, 1)):
        with pytest.raises(BrickError, match=r"top level of a module|give a function"):
            brick(function)


@pytest.mark.parametrize("old", MOVED)
def test_a_moved_path_leads_to_the_function_and_is_stored_as_the_new_one(old):
    assert callable(resolve(old)) and resolve(old) is resolve(MOVED[old])
    assert public_path(resolve(old)) == MOVED[old]
