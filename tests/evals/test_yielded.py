"""What a measure may yield: the rest fails alone, with a sentence that names it."""

import numpy as np
import pytest

from maskmim.evals.measures import Measured, run_measures
from tests.evals.small import trained_on

PICTURE = np.zeros((2, 4, 3), np.uint8)


def sound(trained):
    yield Measured("sound", 1.0, picture=PICTURE)


def yielding(*items):
    """A measure that yields a sound number first."""

    def odd(trained):
        yield "odd/first", 1.0
        yield from items

    return odd


NAMES = "a name is words with '/' between, such as 'group/number'"


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (3.0, "yields 3.0: yield a pair"),
        (("a",), "yields ('a',): yield a pair of a name and a number, or a Measured"),
        (["a", 1.0], "yields ['a', 1.0]: yield a pair"),
        (("a", None), "yields 'a' with the value None: the value is one number"),
        (("a", np.ones(3)), "with the value float64[3]"),
        (("a", "9" * 99), f"with the value '{'9' * 56}...: the"),
        (("a", 1j), "with the value 1j"),
        (("a", 10**400), "the value is one number"),
        (Measured("a", 1.0, 5), "with the text 5: the text is a str, or None"),
        (Measured("a", 1.0, None, None), "with the warning None: the warning is a str, ''"),
        (Measured("a", 1.0, picture=PICTURE / 2), "with the picture float64[2, 4, 3]: a picture"),
        (
            Measured("a", 1.0, picture=PICTURE[0]),
            "with the picture uint8[4, 3]: a picture is uint8",
        ),
        (Measured("a", 1.0, picture=PICTURE[:0]), "with the picture uint8[0, 4, 3]"),
        (Measured("a", 1.0, picture="a.png"), "with the picture 'a.png'"),
        (Measured("a", 1.0, settled={"k": PICTURE}), "it is a dict of JSON values (Object of"),
        ((1.0, 2.0), "yields the name 1.0: a name is a str"),
        ("".join, "yields <built-in method join"),
        *(((name, 1.0), NAMES) for name in ("", "../up", "/a", "a//b", "a/", " a")),
        *(((name, 1.0), NAMES) for name in ("a\\b", "a\nb", "a/./b", "n" * 121)),
        (("odd/first", 2.0), "yields 'odd/first' twice: names must be unique"),
    ],
)
def test_what_does_not_fit_fails_alone_and_is_named(item, words, capsys):
    found = run_measures(trained_on(), {"odd": yielding(item), "sound": sound})
    (why,) = found.failed.values()
    assert why.startswith("evals.measures.odd yields ") and words in why, why
    assert found.metrics == {"sound": 1.0} and found.texts == ["sound 1"]
    np.testing.assert_array_equal(found.pictures["sound"], PICTURE)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("returned", [None, 3.0])
def test_what_yields_nothing_fails_by_name(returned):
    (why,) = run_measures(trained_on(), {"odd": lambda trained: returned}).failed.values()
    assert why.startswith(f"evals.measures.odd returns {returned}: let it `yield`")


def test_arrays_of_one_value_and_whole_numbers_are_numbers():
    items = ("a", np.float32(2.5)), ("b", np.ones((1, 1))), ("c", 3), ("d", True)
    found = run_measures(trained_on(), {"odd": yielding(*items)})
    assert found.metrics == {"odd/first": 1.0, "a": 2.5, "b": 1.0, "c": 3.0, "d": 1.0}


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("loss", "the training"),
        ("lr", "the training"),
        ("loss/pixels", "the training"),
        ("codes/used", "the training"),
        ("knn/own", "evals.probes.knn"),
        ("reconstruction/mse", "the evaluation 'reconstruction'"),
        ("sound", "evals.measures.sound"),
    ],
)
def test_a_name_that_stands_for_something_else_is_refused(name, owner):
    bricks = {"sound": sound, "odd": yielding((name, 2.0))}
    found = run_measures(trained_on(), bricks, probes=["knn"], logged=["codes/used"])
    words = f"evals.measures.odd yields {name!r}, a name that {owner} has: names of metrics must"
    assert found.failed["odd"].startswith(words) and found.metrics == {"sound": 1.0}


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_number_that_is_not_finite_is_kept_and_told(value):
    found = run_measures(trained_on(), {"odd": yielding(Measured("a", value, "", "see here"))})
    assert str(found.metrics["a"]) == str(value)
    null = f"a is {value}: it stands as null in metrics.jsonl and results.json"
    assert found.warnings == ["see here", null]
